# SPDX-License-Identifier: MIT
"""A process as reports show it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

DELETED = " (deleted)"
"""Behind the path of a program whose file has no name any more, as in ``/proc/PID/exe``."""


class Tag(IntEnum):
    """To whom a process belongs; each step has a tag of its own from ``STEPS`` on.

    ``enum tag`` of ``bpf/leakstop.h``.
    """

    UNKNOWN = 0
    MACHINE = 1
    ENGINE = 2
    RUNNER = 3
    JOB = 4
    STEPS = 16


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
    container: str = ""
    """Name and image of the container that it runs in (secrets masked), or the beginning of its
    id; empty outside of one."""

    @property
    def command(self) -> str:
        """The bare program name, for tables."""
        return self.exe.rsplit("/", 1)[-1] or f"pid {self.pid}"


_ENGINES = ("dockerd", "containerd", "runc", "crun", "podman", "conmon", "buildkitd")


def is_engine(exe: str) -> bool:
    """Whether ``exe`` runs containers for whoever asks it."""
    return exe.rpartition("/")[2].startswith(_ENGINES)


UNKNOWN = ProcessView(pid=0, exe="")
"""Stands for a process that nobody saw."""
