# SPDX-License-Identifier: MIT
"""Loads the programs to find out whether this kernel takes them, and takes them out again."""

from __future__ import annotations

from dataclasses import dataclass

from leakstop.bpf.libbpf import BpfError
from leakstop.errors import UnsupportedError
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.encodings import Needle
from leakstop.secrets.needles import build
from leakstop.sensor.load import load, load_denials, require_machine


@dataclass(frozen=True, slots=True)
class Trial:
    """What the kernel took; nothing is said where it took everything."""

    refused: str = ""
    """Why it does not take the data plane, in whole sentences."""
    undenied: str = ""
    """Why it does not take what denies root's hands on the guard."""


def try_load() -> Trial:
    """Load the data plane, and upon it what denies. The data plane is not attached."""
    # In block mode and with something to look for: the verifier leaves out what the
    # constants rule out, and what it left out proves nothing.
    policy = Policy(mode=Mode.BLOCK)
    needles = build([Needle(b"an inert needle", "NONE", "raw")])
    try:
        require_machine(None)
        opened = load(policy, compile_tables(policy), needles, uplinks=True)
    except UnsupportedError as error:
        return Trial(refused=f"{error.what}. {error.why}".strip())
    try:
        load_denials(opened).close()
    except BpfError as error:
        return Trial(undenied=error.what)
    finally:
        opened.close()
    return Trial()


__all__ = ["Trial", "try_load"]
