# SPDX-License-Identifier: MIT
"""A small reader of /proc. A process that has vanished is ``None``, never an exception.

Command lines and environments are bytes: they may hold anything but NUL, so secrets are
looked for before anything is decoded.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
"""Precision of a start time in /proc: one tick of USER_HZ, 10 ms everywhere in practice."""

MAX_READ = 8 * 1024 * 1024
"""More than the kernel's limit of 6 MiB for arguments and environment together
(``bprm_stack_limits`` in fs/exec.c)."""

_CONTAINER = re.compile(rb"[/-]([0-9a-f]{16})[0-9a-f]{48}(\.scope)?$")
"""A cgroup of a container: ``ID``, ``docker-ID.scope``, ``cri-containerd-ID.scope``."""

_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc showed it."""

    pid: int
    ppid: int
    uid: int
    start_ns: int
    """Boot clock, rounded down to ``TICK_NS``."""
    exe: str
    """Empty for kernel threads and where it may not be read."""
    argv: tuple[bytes, ...]


def read(pid: int, proc: Path = PROC) -> Process | None:
    """One process; ``None`` if it is gone, or was replaced while it was being read."""
    before = stat(pid, proc)
    if before is None:
        return None
    argv = cmdline(pid, proc)
    name, uid = exe(pid, proc), _uid(pid, proc)
    after = stat(pid, proc)
    if after is None or after[1] != before[1] or argv is None or uid is None:
        return None
    return Process(pid, after[0], uid, after[1], name, argv)


def pids(proc: Path = PROC) -> Iterator[int]:
    """Processes (not threads) that exist now, in no particular order."""
    with os.scandir(proc) as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)


def members(cgroup: Path) -> Iterator[int]:
    """Processes of a cgroup and of those below it; what vanishes meanwhile is left out."""
    for directory, _, _ in os.walk(cgroup):
        with contextlib.suppress(OSError):  # or they are threads of elsewhere
            yield from map(int, Path(directory, "cgroup.procs").read_text().split())


def ancestors(pid: int, proc: Path = PROC) -> Iterator[int]:
    """``pid`` and those above it, as far up as they can be seen."""
    while pid > 0 and (found := stat(pid, proc)) is not None:
        yield pid
        pid = found[0]


def stat(pid: int, proc: Path = PROC) -> tuple[int, int] | None:
    """Parent and start time in ns of the boot clock."""
    raw = _read(proc / str(pid) / "stat")
    return None if raw is None else parse_stat(raw)


def parse_stat(raw: bytes) -> tuple[int, int] | None:
    """Parent and start time from the text of ``/proc/PID/stat``.

    The second field is the command in parentheses and may itself hold parentheses and spaces,
    so fields are counted from the last ``)``.
    """
    fields = raw.rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    return int(fields[1]), int(fields[19]) * TICK_NS


def same_start(one_ns: int, other_ns: int) -> bool:
    """Whether two start times are of one process, when one of them may be from /proc.

    BPF's ``start_boottime`` has full precision; /proc rounds it down to a tick.
    """
    return one_ns // TICK_NS == other_ns // TICK_NS


def cmdline(pid: int, proc: Path = PROC) -> tuple[bytes, ...] | None:
    """The arguments; empty for kernel threads and zombies."""
    raw = _read(proc / str(pid) / "cmdline")
    return None if raw is None else split_nul(raw)


def split_nul(raw: bytes) -> tuple[bytes, ...]:
    """Items that each end with NUL. Empty items count; a missing last NUL is forgiven."""
    return tuple(raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def exe(pid: int, proc: Path = PROC) -> str:
    """Path of the program; empty if unknown."""
    try:
        return text(os.fsencode((proc / str(pid) / "exe").readlink()))
    except OSError:
        return ""


def sockets(pid: int, proc: Path = PROC) -> frozenset[int]:
    """Inodes of the sockets that a process holds; none if it may not be looked at."""
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in (proc / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                link = str(entry.readlink())
                if link.startswith("socket:["):
                    inodes.add(int(link[len("socket:[") : -1]))
    return frozenset(inodes)


def container(pid: int, proc: Path = PROC) -> int:
    """The container that a process is in, by the first 16 digits of its id; 0 outside of one.

    That of this process is none: what is in it is the machine.
    """
    found = _container(str(pid), proc)
    return 0 if found == _container("self", proc) else found


def _container(pid: str, proc: Path) -> int:
    for line in (_read(proc / pid / "cgroup") or b"").splitlines():
        found = _CONTAINER.search(line)
        if found:
            return int(found[1], 16)
    return 0


def environ(pid: int, proc: Path = PROC, most: int = MAX_READ) -> bytes:
    """The environment a process was started with, NUL between entries; empty if unknown."""
    return _read(proc / str(pid) / "environ", most) or b""


def environ_value(block: bytes, name: str) -> str | None:
    """One variable of an environment block; the first wins, as for getenv(3)."""
    prefix = name.encode() + b"="
    for entry in block.split(b"\0"):
        if entry.startswith(prefix):
            return text(entry[len(prefix) :])
    return None


def text(raw: bytes) -> str:
    r"""Bytes as text that JSON can carry: what is not UTF-8 is written ``\xNN``."""
    return raw.decode("utf-8", "backslashreplace")


def _uid(pid: int, proc: Path) -> int | None:
    try:
        return (proc / str(pid)).stat().st_uid
    except _GONE:
        return None


def _read(path: Path, most: int = MAX_READ) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except _GONE:
        return None
    except OSError:  # EIO and ESRCH from reads of a process that is just leaving
        return None


__all__ = [
    "TICK_NS",
    "Process",
    "cmdline",
    "environ",
    "environ_value",
    "exe",
    "parse_stat",
    "pids",
    "read",
    "same_start",
    "sockets",
    "split_nul",
    "stat",
    "text",
]
