# SPDX-License-Identifier: MIT
"""`make bench`: prints what the guard costs on this machine, as ratios of one run.

Needs root. Takes ten minutes and more, and leaves nothing behind. Whatever is compared takes
turns, so that a machine that is busy for a while is busy for both; the middle value counts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "agent"), str(_ROOT / "tests")]

from bench import (  # noqa: E402
    agent,
    arming,
    builds,
    costs,
    matcher,
    policies,
    queued,
    scan,
    soak,
    uploads,
    verifier,
)
from bench.figures import machine  # noqa: E402
from bench.stage import Stage  # noqa: E402

SECTIONS = (
    *("hosts", "scopes", "nfqueue", "secrets", "uploads", "builds", "arming"),
    *("memory", "events", "soak", "policies", "matcher", "scan", "verifier"),
)


def main() -> int:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=20, help="turns of each comparison")
    parser.add_argument("--seconds", type=float, default=30, help="`soak`: for how long")
    parser.add_argument("--busy", action="store_true", help="`soak`: no processor is ever idle")
    parser.add_argument("--agree", action="store_true", help="`verifier`: renew the budget")
    wanted = parser.parse_args()
    if unknown := set(wanted.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("needs root: `sudo make bench`")
    chosen = wanted.sections or SECTIONS
    began = time.monotonic()
    print(machine())
    with Stage() as stage:
        works: dict[str, Callable[[], None]] = {
            "hosts": lambda: costs.hosts(stage, wanted.rounds),
            "scopes": lambda: costs.scopes(stage, wanted.rounds),
            "nfqueue": lambda: queued.nfqueue(stage, wanted.rounds),
            "secrets": lambda: costs.secrets(stage, wanted.rounds),
            "uploads": lambda: uploads.uploads(stage, wanted.rounds // 2),
            "builds": lambda: builds.builds(stage, wanted.rounds // 4),
            "arming": lambda: arming.arming(stage, wanted.rounds // 2),
            "memory": lambda: agent.memory(stage),
            "events": lambda: agent.events(stage),
            "soak": lambda: soak.soak(stage, wanted.seconds, busy=wanted.busy),
            "policies": policies.policies,
            "matcher": lambda: matcher.matcher(max(3, wanted.rounds // 4)),
            "scan": lambda: scan.scan(wanted.rounds),
            "verifier": lambda: verifier.verifier(agree=wanted.agree),
        }
        for section in chosen:
            works[section]()
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
