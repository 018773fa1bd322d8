# SPDX-License-Identifier: MIT
"""What a sensor is asked to guard, where a test cares for a few things of it only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of
from leakstop.sensor.plan import GuardPlan


def plan_of(policy: Policy, secrets: Sequence[Secret] = (), **more: Any) -> GuardPlan:
    """A plan for ``policy``; ``more`` are fields of it, without them it is of no machine."""
    nowhere = {"scope": "command", "cgroup": None, "run_dir": Path("/nowhere"), "resolvers": ()}
    return GuardPlan(
        policy=policy,
        tables=compile_tables(policy),
        secrets=tuple(secrets),
        needles=table_of(secrets),
        **{**nowhere, **more},
    )
