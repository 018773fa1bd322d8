# SPDX-License-Identifier: MIT
"""The guard's own mounts: whether they are still there. The kernel wakes whoever polls mountinfo
when a mount comes or goes (proc(5))."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable, Iterator
from pathlib import Path

from leakstop.bpf.mounts import mounts
from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor.timer import now_ns
from leakstop.sensor.waking import join

_MOUNTINFO = "/proc/self/mountinfo"


class CoveredWatch:
    """Tells when one of ``points`` is no mount point any more: a follower of the sensor."""

    def __init__(self, points: Iterable[Path]) -> None:
        self._points = set(points)
        self._file = self._waking = -1
        self._poll = select.poll()

    def start(self) -> tuple[str, ...]:
        """Begin to watch; nothing stands in the way of it."""
        self._file = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._poll.register(self._file, select.POLLPRI | select.POLLERR)
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
        """Return which mounts have gone. Who took them away is not told."""
        if self._file < 0 or not self._poll.poll(0):
            return
        there = {mount.point for mount in mounts()}
        for point in sorted(self._points - there):
            self._points.discard(point)
            now = now_ns()
            yield Tamper(now, 0, Trick.MOUNT, str(point), route="not mounted any more")

    def close(self) -> None:
        """Watch no more."""
        for descriptor in {self._file, self._waking} - {-1}:
            os.close(descriptor)
        self._file = self._waking = -1


__all__ = ["CoveredWatch"]
