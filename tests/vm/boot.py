# SPDX-License-Identifier: MIT
"""Boots virtual machines with Debian kernels, in which scenarios are played.

Kernels and packages come from the machine's own package sources.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "agent"), str(_ROOT / "tests")]

from vm import bare, hosted, kernels  # noqa: E402

OLDEST, NEWER = "bookworm", "bookworm-backports"
"""Debian 12 has Linux 6.1, the oldest that is supported; its backports have 6.12."""
MACHINES: dict[str, tuple[str, Callable[[kernels.Kernel], str], tuple[Path, ...]]] = {
    OLDEST: (
        OLDEST,
        lambda kernel: bare.boot(kernel, bare.RESUMING),
        (*bare.CHECKS, bare.RESUMING),
    ),
    NEWER: (NEWER, bare.boot, bare.CHECKS),
    "runner": (NEWER, hosted.boot, (Path("tests/vm/runner"),)),
}
"""What it boots, how, and the checks that it must print."""


def main() -> int:
    """Boot the machines and pass on what their scenarios said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machines", nargs="*", default=[*MACHINES], metavar="MACHINE")
    passed = True
    for name in parser.parse_args().machines:
        suite, boot, places = MACHINES[name]
        console = boot(kernels.fetch(suite)).replace("\r", "")
        print(console[max(0, console.find("kernel ")) :])
        checks = set().union(*(_checks(_ROOT / place) for place in places))
        missing = checks - set(re.findall(r"^ok +(\w+)", console, re.MULTILINE))
        if missing:
            print(f"FAIL {name}: not passed: {', '.join(sorted(missing))}")
        passed &= not missing and bool(re.search(r"^exit 0\s*$", console, re.MULTILINE))
    return 0 if passed else 1


def _checks(place: Path) -> set[str]:
    """Names of the checks in a file, or in the files of a directory."""
    files = place.glob("*.py") if place.is_dir() else [place]
    found: set[str] = set()
    for file in files:
        found |= set(re.findall(r"^ *def check_(\w+)", file.read_text(), re.MULTILINE))
    return found


if __name__ == "__main__":
    sys.exit(main())
