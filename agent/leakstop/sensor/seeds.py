# SPDX-License-Identifier: MIT
"""To whom the processes belong that were there before the guard.

What the machine runs for itself (sshd, the cloud's agent) goes on as it was, and so do the runner
and its worker. What a job has left running is the job's.
"""

from __future__ import annotations

from pathlib import Path

from leakstop.bpf.fill import program_vector
from leakstop.bpf.libbpf import BpfError, Map, Object
from leakstop.bpf.values import Owner
from leakstop.model.process import DELETED, Tag, is_engine
from leakstop.policy.scopes import Scopes
from leakstop.sensor import proc

# Set by the runner's worker for all that its steps start, to find what they leave behind
# (Runner.Worker, JobExtension.cs): also what has gone from under the worker by a double fork.
_TRACKED = "RUNNER_TRACKING_ID"
_LOOKS = 5
_INIT = 1


def sow(opened: Object, scopes: Scopes, worker_pid: int, cgroup: Path) -> None:
    """Give every process of ``cgroup`` an owner that has none; new ones must get theirs already.

    A process can be born, or become another program, while the others are being read: its owner
    is the kernel's then, or it is looked at again. Those outside get none: by that the kernel
    knows who was guarded when it leaves (``on_move``).
    """
    table, settled = opened.map("owners"), set[int]()
    for _ in range(_LOOKS):
        tags = tags_of(worker_pid)
        fresh = tags.keys() & set(proc.members(cgroup)) - settled
        if not fresh:
            return
        for pid in fresh:
            if _settle(table, scopes, pid, tags[pid]):
                settled.add(pid)


def tags_of(worker_pid: int, root: Path = proc.PROC) -> dict[int, Tag]:
    """The tag of every process that there is; without a worker all of them are the machine's."""
    parents = {pid: found[0] for pid in proc.pids(root) if (found := proc.stat(pid, root))}
    # What is above all starts things for whoever asks: it is nobody's own.
    above = {pid for pid in _line(worker_pid, parents) if pid != _INIT}
    engines = {pid for pid in parents if is_engine(proc.exe(pid, root))}
    tags = {}
    for pid in parents:
        line = set(_line(pid, parents))
        if pid in above:
            tags[pid] = Tag.RUNNER
        elif _is_jobs(pid, worker_pid, line, root):
            tags[pid] = Tag.JOB
        else:
            tags[pid] = Tag.ENGINE if line & engines else Tag.MACHINE
    return tags


def _line(pid: int, parents: dict[int, int]) -> list[int]:
    """``pid`` and those above it; parents can lead in a circle, when numbers are reused."""
    line: list[int] = []
    while pid in parents and pid not in line:
        line.append(pid)
        pid = parents[pid]
    return line


def _is_jobs(pid: int, worker_pid: int, line: set[int], root: Path) -> bool:
    if proc.container(pid, root):
        return True
    tracked = proc.environ_value(proc.environ(pid, root), _TRACKED)
    return bool(worker_pid) and (worker_pid in line or tracked is not None)


def _settle(table: Map, scopes: Scopes, pid: int, tag: Tag) -> bool:
    """Enter one; whether its program was still the same afterwards, so that it is right."""
    found, path = proc.stat(pid), proc.exe(pid)
    if found is None:
        return True
    known = "" if path.endswith(DELETED) else path
    owner = Owner(start=found[1], tag=tag, program=program_vector(scopes, known))
    owner.container = proc.container(pid)
    key = pid.to_bytes(4, "little")
    try:
        if not table.create(key, bytes(owner)):
            return True
    except BpfError:  # the table is full: without an owner it has the least right
        return True
    if proc.exe(pid) == path and proc.stat(pid) is not None:
        return True
    table.discard(key)
    return False


__all__ = ["sow", "tags_of"]
