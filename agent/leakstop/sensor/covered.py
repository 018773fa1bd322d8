# SPDX-License-Identifier: MIT
"""The guard's own mounts: whether they are still there, and whether somebody mounts over what the
agent reads and what the job's last step runs. The kernel wakes whoever polls mountinfo when a mount
comes or goes (proc(5)).
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable, Iterator
from pathlib import Path

from leakstop.bpf.mounts import mounts
from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor import proc
from leakstop.sensor.timer import now_ns
from leakstop.sensor.waking import join

_MOUNTINFO = "/proc/self/mountinfo"
_PIECE = 1 << 16
_PROCESSES = ("self", "thread-self")


class CoveredWatch:
    """Tells when one of ``points`` is no mount point any more, and when something is mounted over
    one of them, over ``places``, or over procfs: a follower of the sensor."""

    def __init__(self, points: Iterable[Path], places: Iterable[Path] = ()) -> None:
        self._points = set(points)
        self._places = {*self._points, *places, proc.PROC}
        self._before: dict[int, Path] = {}
        self._file = self._waking = -1
        self._poll = select.poll()

    def start(self) -> tuple[str, ...]:
        """Begin to watch; nothing stands in the way of it."""
        self._file = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._file, select.POLLPRI | select.POLLERR)
        self._before = self._read()
        return ()

    def wake(self, epoll: int) -> None:
        """Wake the sensor for a change."""
        # Opened anew: each open file tells of a change once, to whoever polls it first.
        self._waking = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        join(epoll, self._waking, events=select.EPOLLPRI | select.EPOLLET)

    def see(self, event: Event) -> Iterable[Event]:
        """Take in an event; none of them matters here."""
        return ()

    def follow(self) -> Iterator[Event]:
        """Return which mounts have gone, and which hide something. Who did it is not told."""
        if self._file < 0 or not self._poll.poll(0):
            return
        before, self._before = self._before, self._read()
        gone = self._points.difference(self._before.values())
        if gone:
            # The list comes in pieces, and can change between two of them.
            gone.difference_update(self._read().values())
        for point in sorted(gone):
            self._points.discard(point)
            yield _found(point, "not mounted any more")
        fresh = {self._before[number] for number in self._before.keys() - before.keys()}
        for point in sorted(filter(self._hides, fresh)):
            yield _found(point, "mounted over")

    def close(self) -> None:
        """Watch no more."""
        for descriptor in {self._file, self._waking} - {-1}:
            os.close(descriptor)
        self._file = self._waking = -1

    def _read(self) -> dict[int, Path]:
        """The mounts that there are, from the open file: its name may be hidden by now."""
        text = bytearray()
        while piece := os.pread(self._file, _PIECE, len(text)):
            text += piece
        listed = mounts(text.decode(errors="surrogateescape"))
        return {mount.number: mount.point for mount in listed}

    def _hides(self, point: Path) -> bool:
        if any(point == place or point in place.parents for place in self._places):
            return True
        below = point.parts[len(proc.PROC.parts) :] if point.is_relative_to(proc.PROC) else ()
        return bool(below) and (below[0].isdecimal() or below[0] in _PROCESSES)


def _found(point: Path, how: str) -> Tamper:
    return Tamper(now_ns(), 0, Trick.MOUNT, proc.text(os.fsencode(point)), route=how)


__all__ = ["CoveredWatch"]
