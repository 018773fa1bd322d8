# SPDX-License-Identifier: MIT
"""Who else lays hands on the journal: it is the agent's alone, and root in the job is root.

The journal itself tells that it was changed, the kernel (fanotify) who wrote, or had it open for
that. Of who cuts it by its path the kernel does not tell: then nobody is named.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from leakstop.daemon.journal import Change, Journal
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor import fanotify

WHAT = "the journal of events"
_EVERY_NS = 250_000_000
_WANTED = fanotify.MODIFY | fanotify.CLOSE_WRITE
_MOST_TOLD = 128
_UNDONE = Change("written to", mended=True)

T = TypeVar("T")


class Custody:
    """One agent's watch over the journal."""

    def __init__(self, journal: Journal, clock_ns: Callable[[], int]) -> None:
        self._journal = journal
        self._clock_ns = clock_ns
        self._writes: fanotify.Files | None = None
        with contextlib.suppress(OSError):  # not root, or in a container
            self._writes = fanotify.Files()
            self._writes.watch(f"/proc/self/fd/{journal.fileno()}", _WANTED)
        self._looked_ns = 0
        self._unexplained: Change | None = None
        self._told: set[int | str] = set()
        self._held: set[int] = set()
        """Counted apart: who only opens it must not use up what can be told."""

    def look(self, *, whole: bool = False) -> Iterator[Tamper]:
        """What was done since; ``whole``: nothing may have gone unnoticed, so all of it is read."""
        now = self._clock_ns()
        if not whole and now - self._looked_ns < _EVERY_NS:
            return
        self._looked_ns = now
        change = self._journal.changed(whole=whole)
        before, self._unexplained = self._unexplained, None
        writers, holders = self._touched()
        fresh = [pid for pid in writers | holders if _is_new(pid, self._held)]
        if fresh and not (change or before):  # what was written in place, too
            change = self._journal.changed(whole=True)
        change = change or before or (_UNDONE if writers else None)
        if change is None:
            return
        whom = writers or holders
        if not (whom or before or whole):
            self._unexplained = change  # who it was is told of a moment later
            return
        for pid in whom or {0}:
            if _is_new(pid or change.route, self._told):
                yield Tamper(
                    now, pid, Trick.JOURNAL, WHAT, route=change.route, mended=change.mended
                )

    def close(self) -> None:
        """Watch no more."""
        if self._writes is not None:
            self._writes.close()
            self._writes = None

    def _touched(self) -> tuple[set[int], set[int]]:
        """Who wrote; and who has done with a file open for writing."""
        writers: set[int] = set()
        holders: set[int] = set()
        if self._writes is not None:
            with contextlib.suppress(OSError):
                for touch in self._writes.touches():
                    if touch.pid != os.getpid():
                        (writers if touch.mask & fanotify.MODIFY else holders).add(touch.pid)
        return writers, holders


def _is_new(what: T, known: set[T]) -> bool:
    if what in known or len(known) >= _MOST_TOLD:
        return False
    known.add(what)
    return True


__all__ = ["WHAT", "Custody"]
