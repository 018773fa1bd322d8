# SPDX-License-Identifier: MIT
"""Opens perf events (perf_event_open(2)), and reads the ring of one that says what is mapped."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_FLAG_PID_CGROUP, _FLAG_CLOEXEC = 4, 8
ANYONE = -1

# <linux/perf_event.h>
_TYPE_SOFTWARE, _COUNT_DUMMY = 1, 9
_MMAP, _WATERMARK, _SAMPLE_ID_ALL, _MMAP2, _USE_CLOCKID = (1 << bit for bit in (8, 14, 18, 23, 25))
_SAMPLE_TIME = 1 << 2
RECORD_LOST, RECORD_MMAP2 = 2, 10
_HEADER = struct.Struct("<IHH")
_HEAD_AT, _TAIL_AT = 1024, 1032
_WORD = struct.Struct("<Q")

_libc = ctypes.CDLL(None, use_errno=True)


class Attributes(ctypes.Structure):
    """``struct perf_event_attr``, as long as its version 3 (Linux 3.16)"""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_watermark", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 40),
        ("clockid", ctypes.c_int32),
    )


def open_event(attributes: Attributes, cpu: int, cgroup: int = ANYONE) -> int:
    """Open an event of whoever is in ``cgroup`` (a descriptor), or of anyone.

    Raises:
        OSError: the kernel refuses.
    """
    attributes.size = ctypes.sizeof(Attributes)
    flags = _FLAG_CLOEXEC | (_FLAG_PID_CGROUP if cgroup != ANYONE else 0)
    number = _PERF_EVENT_OPEN.get(os.uname().machine, -1)
    result = _libc.syscall(number, ctypes.byref(attributes), cgroup, cpu, -1, flags)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


class MappingRing:
    """Tells of every file that is mapped to be executed, on one processor."""

    _PAGES = 64
    """256 KiB: 2,000 records, of 200 programs that are started at once."""

    def __init__(self, cpu: int, cgroup: int) -> None:
        """Raise ``OSError`` where the kernel refuses."""
        attributes = Attributes(
            type=_TYPE_SOFTWARE,
            config=_COUNT_DUMMY,
            sample_type=_SAMPLE_TIME,
            flags=_MMAP | _MMAP2 | _WATERMARK | _SAMPLE_ID_ALL | _USE_CLOCKID,
            wakeup_watermark=1,
            clockid=7,  # CLOCK_BOOTTIME, as in all events
        )
        self._descriptor = open_event(attributes, cpu, cgroup)
        try:
            self._map = mmap.mmap(self._descriptor, (1 + self._PAGES) * mmap.PAGESIZE)
        except OSError:
            os.close(self._descriptor)
            raise
        self._size = self._PAGES * mmap.PAGESIZE

    def fileno(self) -> int:
        """Readable when there are records."""
        return self._descriptor

    def records(self) -> Iterator[tuple[int, bytes]]:
        """Type and body of each record that waits. The ring is the kernel's, and believed."""
        (head,) = _WORD.unpack_from(self._map, _HEAD_AT)
        (at,) = _WORD.unpack_from(self._map, _TAIL_AT)
        while at < head:
            kind, _, size = _HEADER.unpack(self._bytes(at, _HEADER.size))
            yield kind, self._bytes(at + _HEADER.size, size - _HEADER.size)
            at += size
        _WORD.pack_into(self._map, _TAIL_AT, at)

    def close(self) -> None:
        """Let go."""
        self._map.close()
        os.close(self._descriptor)

    def _bytes(self, at: int, size: int) -> bytes:
        start = at % self._size
        first = min(size, self._size - start)
        data = mmap.PAGESIZE + start
        return (
            self._map[data : data + first] + self._map[mmap.PAGESIZE : mmap.PAGESIZE + size - first]
        )


__all__ = ["ANYONE", "RECORD_LOST", "RECORD_MMAP2", "Attributes", "MappingRing", "open_event"]
