# SPDX-License-Identifier: MIT
"""Sockets that were open before the guard: noted, and those of the machine's services trusted.

What the machine runs for itself (the runner and its worker, sshd, the cloud's agent) goes on as
it was. What a job has left running is the job's: its sockets are judged like any other.
"""

from __future__ import annotations

from pathlib import Path

from leakstop.bpf.libbpf import Object
from leakstop.sensor import proc

# Set by the runner's worker for all that its steps start, to find what they leave behind
# (Runner.Worker, JobExtension.cs): also what has gone from under the worker by a double fork.
_TRACKED = "RUNNER_TRACKING_ID"
_LOOKS = 5


def note_sockets(opened: Object, worker_pid: int) -> None:
    """Give every socket of the machine that has none a note; new ones must get theirs already."""
    table = opened.map("suspects")
    known: set[int] = set()
    # A process can be born while the others are being read. Its parent is known by then.
    for _ in range(_LOOKS if worker_pid else 0):
        found = suspects(worker_pid) - known
        if not found:
            break
        table.update_all((pid.to_bytes(4, "little"), b"\1") for pid in found)
        known |= found
    link = opened.attach("on_older")
    try:
        link.iterate()
    finally:
        link.close()


def suspects(worker_pid: int, root: Path = proc.PROC) -> set[int]:
    """Processes below the runner's worker, and those that its steps have left behind."""
    parents = {pid: found[0] for pid in proc.pids(root) if (found := proc.stat(pid, root))}
    return {
        pid
        for pid in parents
        if _is_below(worker_pid, pid, parents)
        or proc.environ_value(proc.environ(pid, root), _TRACKED) is not None
    }


def _is_below(worker_pid: int, pid: int, parents: dict[int, int]) -> bool:
    seen = set()
    while pid in parents and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
        if pid == worker_pid:
            return True
    return False


__all__ = ["note_sockets", "suspects"]
