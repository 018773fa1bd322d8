# SPDX-License-Identifier: MIT
"""A process as reports show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A process at the moment something happened."""

    pid: int
    exe: str
    """Path of the executable; empty if it was never learned."""
    argv: tuple[str, ...] = ()
    """Secrets masked."""
    truncated: bool = False
    """``argv`` is not whole."""
    ancestry: tuple[str, ...] = ()
    """Executables from the parent upwards, e.g. ``("/usr/bin/bash", …)``."""

    @property
    def command(self) -> str:
        """The bare program name, for tables."""
        return self.exe.rsplit("/", 1)[-1] or f"pid {self.pid}"


UNKNOWN = ProcessView(pid=0, exe="")
"""Stands for a process that nobody saw."""
