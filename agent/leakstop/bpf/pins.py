# SPDX-License-Identifier: MIT
"""Pins: what keeps the programs attached when the agent is gone.

Each guard has a BPF file system of its own, mounted below its private directory. Taking
that mount away lets go of everything that only the pins held.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from leakstop.bpf.libbpf import BpfError
from leakstop.bpf.mounts import mounts

_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(directory: Path) -> None:
    """Mount a BPF file system on ``directory``, which is made.

    Raises:
        BpfError: the kernel refuses.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _libc.mount(b"bpf", os.fsencode(directory), b"bpf", 0, b"mode=0700"):
        raise BpfError(
            f"no BPF file system could be mounted: {os.strerror(ctypes.get_errno())}",
            why="without it the programs would be gone with the agent",
            fix="run as root outside of a container, or privileged",
            where=str(directory),
        )


def release(directory: Path) -> int:
    """Unmount every BPF file system at or below ``directory`` and return how many those were.

    Links that nobody else holds are detached with it.
    """
    below = directory.resolve()
    released = 0
    for mount in mounts():
        if mount.kind == "bpf" and mount.point.is_relative_to(below):
            released += _libc.umount2(os.fsencode(mount.point), _MNT_DETACH) == 0
    return released


__all__ = ["mount", "release"]
