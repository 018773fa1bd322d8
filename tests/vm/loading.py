# SPDX-License-Identifier: MIT
"""Programs that are other ones with other settings: the verifier of each kernel sees them, too.
A part of ``scenario.py``."""

from __future__ import annotations

import secrets

from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of
from leakstop.sensor.load import load

MANY = 300
"""More than those for which words that are no ASCII have no filter of their own (bpf/bloom.py)."""


class Loading:
    """The checks."""

    def check_it_loads_with_many_secrets(self) -> bool:
        values = (secrets.token_urlsafe(30).encode() for _ in range(MANY))
        known = [Secret(f"TOKEN_{number}", value) for number, value in enumerate(values)]
        policy = Policy(mode=Mode.BLOCK)
        load(policy, compile_tables(policy), table_of(known), uplinks=True, finds=True).close()
        return True
