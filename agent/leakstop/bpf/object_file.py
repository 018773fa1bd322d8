# SPDX-License-Identifier: MIT
"""Objects as they lie on the disk, read once: what somebody puts there later is never loaded."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path


class _OpenOptions(ctypes.Structure):
    """The beginning of ``struct bpf_object_open_opts``; its size says how much of it is there."""

    _fields_ = (("size", ctypes.c_size_t), ("name", ctypes.c_char_p))


@functools.cache
def read(path: Path) -> bytes:
    """The object at ``path``. libbpf reads it in place, so it stays in memory.

    Raises:
        OSError: it cannot be read.
    """
    return path.read_bytes()


@functools.cache
def options(path: Path) -> ctypes.Array[_OpenOptions]:
    """Open it by its own name: those of its sections begin with that, and the next agent asks
    for them."""
    size = ctypes.sizeof(_OpenOptions)
    return (_OpenOptions * 1)(_OpenOptions(size, path.name.encode()))


__all__ = ["options", "read"]
