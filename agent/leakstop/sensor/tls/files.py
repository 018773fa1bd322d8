# SPDX-License-Identifier: MIT
"""Opens files that may be anybody's, and reads of them what can be known."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leakstop.sensor.tls.elf import Elf, ElfError
from leakstop.sensor.tls.functions import UNKNOWN, Place, find, why_unknown

# <linux/magic.h>. A file system in user space may let its readers wait forever.
_FUSE = 0x65735546
_STATFS = 256
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Version:
    """What tells a file from another one, and from what it held before."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Version:
        """The version of what was looked at."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class File:
    """An open regular file."""

    descriptor: int
    version: Version

    @property
    def path(self) -> Path:
        """A name of just this file, for as long as it is open."""
        return Path(f"/proc/self/fd/{self.descriptor}")

    def places(self) -> tuple[Place, ...]:
        """Where to look in it; nothing where it cannot be read as what it claims to be."""
        try:
            found = find(Elf(self.descriptor))
            # The page is in memory from here on: putting a breakpoint into one that is not made
            # ext4 complain (Linux 6.18, WARN_ON_ONCE).
            there = all(os.pread(self.descriptor, 1, place.offset) for place in found)
        except (ElfError, OSError, OverflowError):
            return ()
        return found if there else ()

    def why_unknown(self) -> str:
        """In which way a program without such places is opaque."""
        try:
            return why_unknown(Elf(self.descriptor))
        except ElfError:
            return UNKNOWN


@contextmanager
def opened(path: Path) -> Iterator[File | None]:
    """Open a regular file to read; ``None`` if that is not what is there."""
    descriptor = _open(path)
    if descriptor is None:
        yield None
        return
    try:
        yield File(descriptor, Version.of(os.fstat(descriptor)))
    finally:
        os.close(descriptor)


def _open(path: Path) -> int | None:
    """Opening a device, a pipe or the like may do something: look first at what it is."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode) or _is_fuse(handle):
            return None
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
    except OSError:
        return None
    finally:
        os.close(handle)


def _is_fuse(descriptor: int) -> bool:
    result = ctypes.create_string_buffer(_STATFS)
    if _libc.fstatfs(descriptor, result):
        return True
    return int.from_bytes(result.raw[:8], "little") == _FUSE


__all__ = ["File", "Version", "opened"]
