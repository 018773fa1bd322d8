# SPDX-License-Identifier: MIT
"""What the kernel's verifier has to walk through for each program, and the budget for it.

Loading the data plane takes about 1 µs an instruction walked, so this is most of the time until
a guard is in force; and the kernel gives up at a million.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

from bench import programs
from bench.figures import heading, table
from lab import tokens
from leakstop.model.verdict import Leak, Mode
from leakstop.policy.rules import Policy
from leakstop.secrets.inventory import Secret

BUDGET = Path(__file__).with_name("verifier.json")
UPDATE = "python tests/bench/run.py verifier --agree"
"""How the budget is renewed, once it is clear why it has to be."""


def kernel() -> str:
    """What the counts depend on: the verifier's version, and for whom clang compiled."""
    release = ".".join(platform.release().split(".")[:2])
    return f"{release} {platform.machine()}"


def measure() -> dict[str, int]:
    """Instructions walked for each program, in whichever mode that is most."""
    token = tokens.home_made("TOKEN")
    known = (Secret(token.name, token.value.encode()),)
    most: dict[str, int] = {}
    for mode in Mode:
        for leak in (Leak.KILL, Leak.FAIL):
            for program in programs.loaded(Policy(mode=mode, leak=leak), known):
                most[program.name] = max(most.get(program.name, 0), program.verified)
    return most


def budgets() -> dict[str, dict[str, int]]:
    """The counts that were agreed to, by kernel."""
    found: dict[str, dict[str, int]] = json.loads(BUDGET.read_text())
    return found


def verifier(*, agree: bool) -> None:
    """Print the counts, and make them the budget if that is asked for."""
    counts, agreed = measure(), budgets()
    known = agreed.get(kernel(), {})
    heading(f"Instructions that the verifier walks through ({kernel()})")
    rows = [(name, f"{count:,}", f"{known.get(name, 0):,}") for name, count in counts.items()]
    rows.append(("all", f"{sum(counts.values()):,}", f"{sum(known.values()):,}"))
    table(("program", "now", "agreed"), rows)
    if agree:
        BUDGET.write_text(json.dumps({**agreed, kernel(): counts}, indent=2, sort_keys=True) + "\n")
