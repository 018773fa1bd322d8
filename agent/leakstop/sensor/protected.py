# SPDX-License-Identifier: MIT
"""Tells the kernel side whose threads are protected: the agent's, its supervisor's, the worker's,
and those of what is above the worker. Who is in there would pass for the runner.

A map and not a constant: an agent that is started again has another process id, and goes on with
the programs that it finds.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Protocol

from leakstop.bpf.values import Protected
from leakstop.sensor import proc

_INIT = 1


class Table(Protocol):
    """The kernel's list."""

    def update(self, key: bytes, value: bytes) -> None:
        """Set one entry."""


def protect(table: Table, pid: int, kind: Protected, root: Path = proc.PROC) -> None:
    """Enter all threads that ``pid`` has now; one that is gone, or 0, has none."""
    with contextlib.suppress(OSError):
        for thread in (root / str(pid) / "task").iterdir():
            table.update(int(thread.name).to_bytes(4, "little"), bytes((kind,)))


def protect_runner(table: Table, worker: int, root: Path = proc.PROC) -> None:
    """Enter the worker's threads, and those of what has started it; 0 is no worker."""
    for pid in proc.ancestors(worker, root) if worker else ():
        if pid not in (_INIT, worker):  # init starts things for whoever asks
            protect(table, pid, Protected.RUNNER, root)
    protect(table, worker, Protected.WORKER, root)


__all__ = ["protect", "protect_runner"]
