# SPDX-License-Identifier: MIT
"""A thin binding to fanotify(7), which tells who touched a file: inotify does not.

It only tells: no permission events, so no process ever waits for us. Two kinds, because the
kernel gives either an open file or a name: ``Files`` (any file system) says which file was
opened, written or closed, but not that it was cut by its path (truncate(2)); ``Names`` (5.9, file
systems with file handles) also what was created, cut, moved or removed in a directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leakstop.sensor.drain import drain

# <linux/fanotify.h>
MODIFY, CLOSE_WRITE, OPEN = 0x2, 0x8, 0x20
ATTRIB, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x4, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
_OVERFLOW, _ON_CHILD, _ON_DIRECTORY = 0x4000, 0x08000000, 0x40000000

_CLOEXEC, _NONBLOCK = 0x1, 0x2
_REPORT_DIRECTORY, _REPORT_NAME = 0x400, 0x800
_ADD = 0x1
_NAME, _NAME_OLD, _NAME_NEW = 2, 10, 12
"""Kinds of information that begin with a directory's handle and end with a name."""

_HEAD = struct.Struct("IBBHQii")
_INFORMATION = struct.Struct("BBH8sIi")
_VERSION = 3
_NO_DESCRIPTOR = -1
_AT_FDCWD = -100
_HANDLE_BYTES = 128  # MAX_HANDLE_SZ


@dataclass(frozen=True, slots=True)
class Touch:
    """Somebody touched what is watched."""

    pid: int
    """Thread group; it may be gone by now. 0 if it is in a pid namespace that we do not see."""
    mask: int
    """What was done: several at once, if they were by one process and followed on each other."""
    path: str
    """Of the file as it is now, or was when it was touched."""
    inode: tuple[int, int] = (0, 0)
    """Device and inode of the file; zeros from ``Names``."""
    lost: bool = False
    """Others were lost: anything may have happened, by anybody."""


class _Fanotify:
    def __init__(self, flags: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        opened = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_LARGEFILE", 0)
        self._fd = int(self._libc.fanotify_init(_CLOEXEC | _NONBLOCK | flags, opened))
        if self._fd < 0:
            raise _error()

    def fileno(self) -> int:
        """Readable when something was touched."""
        return self._fd

    def close(self) -> None:
        """Watch no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _mark(self, path: str, mask: int) -> None:
        added = self._libc.fanotify_mark(
            self._fd, _ADD, ctypes.c_uint64(mask), _AT_FDCWD, os.fsencode(path)
        )
        if added < 0:
            raise _error(path)

    def _records(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Mask, descriptor, pid and further information of each event that waits."""
        for data in drain(self._fd):
            at = 0
            while at + _HEAD.size <= len(data):
                length, version, _, head, mask, descriptor, pid = _HEAD.unpack_from(data, at)
                if version != _VERSION or length < _HEAD.size:
                    raise OSError(errno.EPROTO, f"fanotify speaks version {version}")
                yield mask, descriptor, pid, data[at + head : at + length]
                at += length


class Files(_Fanotify):
    """Watches files, each for itself. Wants CAP_SYS_ADMIN."""

    def __init__(self) -> None:
        super().__init__(0)

    def watch(self, path: str, mask: int, *, children: bool = False) -> None:
        """Watch the file at ``path`` (symbolic links followed), or what a directory holds.

        Raises:
            OSError: it is not there, or the limit of marks is reached.
        """
        self._mark(path, mask | (_ON_CHILD if children else 0))

    def touches(self) -> Iterator[Touch]:
        """What was done since."""
        for mask, descriptor, pid, _ in self._records():
            if descriptor == _NO_DESCRIPTOR:
                yield Touch(pid, mask, "", lost=bool(mask & _OVERFLOW))
                continue
            try:
                status = os.fstat(descriptor)
                path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            finally:
                os.close(descriptor)
            yield Touch(pid, mask, path, (status.st_dev, status.st_ino))


class Names(_Fanotify):
    """Watches directories for names that come, go or are written. Wants CAP_SYS_ADMIN."""

    def __init__(self) -> None:
        super().__init__(_REPORT_DIRECTORY | _REPORT_NAME)
        self._directories: dict[bytes, str] = {}

    def watch(self, directory: str, mask: int) -> None:
        """Watch what ``directory`` holds.

        Raises:
            OSError: no directory, its file system has no file handles, or the limit is reached.
        """
        self._mark(directory, mask | _ON_CHILD | _ON_DIRECTORY)
        self._directories[self._handle(directory)] = directory

    def touches(self) -> Iterator[Touch]:
        """What was done since, with the path as it was then."""
        for mask, _, pid, information in self._records():
            if mask & _OVERFLOW:
                yield Touch(pid, mask, "", lost=True)
            for handle, name in _names(information):
                directory = self._directories.get(handle)
                if directory is not None:
                    yield Touch(pid, mask, f"{directory}/{os.fsdecode(name)}")

    def _handle(self, path: str) -> bytes:
        """The file handle by which the kernel tells of ``path``: type and bytes."""
        handle = ctypes.create_string_buffer(8 + _HANDLE_BYTES)
        struct.pack_into("Ii", handle, 0, _HANDLE_BYTES, 0)
        mount = ctypes.c_int()
        name = os.fsencode(path)
        follow = 0x400  # AT_SYMLINK_FOLLOW
        if self._libc.name_to_handle_at(_AT_FDCWD, name, handle, ctypes.byref(mount), follow) < 0:
            raise _error(path)
        length = struct.unpack_from("I", handle)[0]
        return handle.raw[4 : 8 + length]


def _names(information: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Handles of directories and names in them."""
    at = 0
    while at + _INFORMATION.size <= len(information):
        kind, _, length, _, size, _ = _INFORMATION.unpack_from(information, at)
        if length < _INFORMATION.size:
            return
        handle = at + _INFORMATION.size
        if kind in (_NAME, _NAME_OLD, _NAME_NEW):
            name = information[handle + size : at + length]
            yield information[handle - 4 : handle + size], name.partition(b"\0")[0]
        at += length


def _error(path: str = "") -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), *([path] if path else []))


__all__ = [
    "ATTRIB",
    "CLOSE_WRITE",
    "CREATE",
    "DELETE",
    "DELETE_SELF",
    "MODIFY",
    "MOVED_FROM",
    "MOVED_TO",
    "MOVE_SELF",
    "OPEN",
    "Files",
    "Names",
    "Touch",
]
