# SPDX-License-Identifier: MIT
"""Hands streams to the kernel's parsers, cut into segments at will."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from bpf.harness import compiled, run
from leakstop.bpf import records
from leakstop.bpf.libbpf import Object, library
from leakstop.model.flow import Stream

ETHERNET = 14
SEGMENT_MAX = 3072
"""BPF_PROG_TEST_RUN takes packets up to a page."""
STATE_SIZE = 400
"""``struct stream``"""
JUDGED_MAX = 1000
"""No segment shows that many names: a parser that does runs in a circle."""


class Result(IntEnum):
    """``enum stream_result``"""

    PASS = 0
    SHOWN = 1
    DROP = 2
    DONE = 3


@dataclass(frozen=True)
class Shown:
    """What a stream shows, as it is judged."""

    kind: Stream
    name: str = ""
    port: int = 0
    connect: bool = False
    tunnel: bool = False


class StreamArgs(ctypes.Structure):
    """``struct stream_args``"""

    _fields_ = (
        ("seq", ctypes.c_uint32),
        ("offset", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
        ("urgent", ctypes.c_uint32),
        ("begin", ctypes.c_uint32),
        ("result", ctypes.c_uint32),
        ("next", ctypes.c_uint32),
        ("name_port", ctypes.c_uint16),
        ("name_len", ctypes.c_uint16),
        ("kind", ctypes.c_uint8),
        ("connect", ctypes.c_uint8),
        ("tunnel", ctypes.c_uint8),
        ("pad", ctypes.c_uint8),
        ("name", ctypes.c_uint8 * records.NAME_MAX_TEXT),
    )


class Parser:
    """The kernel's parsers, and the one stream that they read."""

    def __init__(self) -> None:
        self._object = Object(library(), compiled("stream"))
        self._object.load()
        self._begins = True

    def __enter__(self) -> Parser:
        return self

    def __exit__(self, *_: object) -> None:
        self._object.close()

    def begin(self) -> None:
        """The next segment is the first of a new stream."""
        self._begins = True

    def forget(self) -> None:
        """The next segment is of a stream that never began: its memory is all zero."""
        self._object.map("the_stream").update(bytes(4), bytes(STATE_SIZE))
        self._begins = False

    def feed(self, seq: int, data: bytes, *, urgent: bool = False) -> tuple[list[Shown], Result]:
        """Read one segment to its end, or to where it may not leave; all that is shown may."""
        shown = []
        for _ in range(JUDGED_MAX):
            args = StreamArgs(
                seq=seq % 2**32,
                offset=ETHERNET,
                len=len(data),
                urgent=urgent,
                begin=self._begins,
            )
            self._begins = False
            done = run(self._object, "stream_segment", "stream_io", args, bytes(ETHERNET) + data)
            result = Result(done.result)
            if result is not Result.SHOWN:
                return shown, result
            shown.append(
                Shown(
                    tuple(Stream)[done.kind],
                    bytes(done.name[: done.name_len]).decode("latin-1"),
                    done.name_port,
                    bool(done.connect),
                    bool(done.tunnel),
                )
            )
        raise AssertionError("the parser does not come to an end")

    def read(
        self, data: bytes, cuts: Iterable[int] = (), start: int = 1
    ) -> tuple[list[Shown], Result]:
        """Read a new stream, cut at these offsets; stops where no reading is needed any more."""
        self.begin()
        shown: list[Shown] = []
        result = Result.PASS
        for begin, end in pairwise(bounds(len(data), cuts)):
            more, result = self.feed(start + begin, data[begin:end])
            shown += more
            if result is not Result.PASS:
                break
        return shown, result


def bounds(length: int, cuts: Iterable[int]) -> Sequence[int]:
    """The ends of all segments, with 0 in front; none is longer than a test can carry."""
    fixed = {0, length, *range(0, length, SEGMENT_MAX)}
    return sorted(fixed | {cut for cut in cuts if 0 < cut < length})


def every(step: int, data: bytes) -> range:
    """Cuts for segments of ``step`` bytes."""
    return range(step, len(data), step)
