# SPDX-License-Identifier: MIT
"""A thin binding to inotify(7). It only tells: no process waits for us, as with fanotify's
permission events, and nobody's writes are slowed down but those to the directories watched."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from leakstop.sensor.drain import drain

# <sys/inotify.h>
_CLOSE_WRITE, _MOVED_TO, _CREATE = 0x8, 0x80, 0x100
_ONLYDIR = 0x01000000
_IS_DIRECTORY, _OVERFLOW, _GONE = 0x40000000, 0x4000, 0x8000
_HEAD = struct.Struct("iIII")


@dataclass(frozen=True, slots=True)
class Change:
    """Something in a watched directory."""

    watch: int
    name: str
    directory: bool
    """It is a directory that came."""
    lost: bool = False
    """Changes were lost: anything may have happened."""
    gone: bool = False
    """The watched directory is no more."""


class Inotify:
    """Watches directories for files that were written or moved there, and for new directories."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error()

    def fileno(self) -> int:
        """Readable when there are changes."""
        return int(self._fd)

    def watch(self, descriptor: int) -> int:
        """Watch the directory that ``descriptor`` is.

        Raises:
            OSError: no directory, or the limit of watches is reached.
        """
        path = f"/proc/self/fd/{descriptor}".encode()
        mask = _CLOSE_WRITE | _MOVED_TO | _CREATE | _ONLYDIR
        number = int(self._libc.inotify_add_watch(self._fd, path, mask))
        if number < 0:
            raise _error()
        return number

    def changes(self) -> Iterator[Change]:
        """What happened since."""
        for data in drain(self._fd):
            yield from _changes(data)

    def close(self) -> None:
        """Watch no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _changes(data: bytes) -> Iterator[Change]:
    at = 0
    while at + _HEAD.size <= len(data):
        watch, mask, _, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
        at += length
        directory = bool(mask & _IS_DIRECTORY)
        if directory or mask & (_CLOSE_WRITE | _MOVED_TO | _OVERFLOW | _GONE):
            yield Change(watch, name, directory, bool(mask & _OVERFLOW), bool(mask & _GONE))


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


__all__ = ["Change", "Inotify"]
