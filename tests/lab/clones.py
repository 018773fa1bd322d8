# SPDX-License-Identifier: MIT
"""Processes that are born in a cgroup of somebody's choice, or with a number of his choice."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clone.c")


class Clone:
    """``clone.c``, compiled."""

    def __init__(self, directory: Path) -> None:
        self._program = directory / "clone"
        subprocess.run(["gcc", "-O2", "-static", "-o", self._program, _SOURCE], check=True)

    def into(self, group: Path, *command: str | Path) -> list[str]:
        """A command line that makes a child in ``group``, which becomes ``command``."""
        return list(map(str, (self._program, group, 0, *command)))

    def numbered(self, pid: int, *command: str | Path, group: Path | str = "") -> list[str]:
        """The same for a child with the number ``pid``, which nobody may have now."""
        return list(map(str, (self._program, group, pid, *command)))


__all__ = ["Clone"]
