# SPDX-License-Identifier: MIT
"""The journal: every event, one JSON object a line, appended and never rewritten.

A report is a pure function of (journal, policy), so whatever happens to the agent, what it
wrote can be folded again. A disk that is full costs the journal, never the guard.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from leakstop.daemon.seal import Seal
from leakstop.model.codec import event_from_json, event_to_json
from leakstop.model.event import Event

_LARGEST_LINE = 4 * 1024 * 1024
_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""Made once: ``json.dumps`` with separators makes one for every record."""


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody else did to the file."""

    route: str
    """E.g. ``cut short``."""
    mended: bool = False
    """It holds what it has to."""


class Journal:
    """Appends events to a file. Writing never raises; what was lost is counted."""

    def __init__(self, descriptor: int, path: Path | None = None) -> None:
        """Take over ``descriptor``, a file open for appending; ``path``, if nobody else may put
        another one there."""
        self._descriptor = descriptor
        self._path = path
        self._lines: list[bytes] = []
        self.lost = 0
        """Events that could not be written."""
        self._why = ""
        self._seal = Seal(descriptor)
        self._changes: list[Change] = []
        self._altered = False
        self._unproven = False

    @classmethod
    def create(cls, path: Path, mode: int = 0o640) -> Journal:
        """Start a new journal at ``path``."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return cls(os.open(path, flags, mode), path)

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._descriptor

    def reopened(self) -> BinaryIO:
        """The file that is written, to be read from its beginning, whatever its name means now."""
        return Path(f"/proc/self/fd/{self._descriptor}").open("rb")

    def write(self, event: Event) -> None:
        """Queue ``event`` for the next ``flush``."""
        record = _ENCODER.encode(event_to_json(event))
        self._lines.append(record.encode() + b"\n")

    def flush(self) -> None:
        """Append the queued events, whole lines or none."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            self._check_size()
            whole, data = self._seal.size, b"".join(lines)
            self._seal.begin(data)
            try:
                _write_all(self._descriptor, data)
                self._seal.done(whole + len(data))
            except OSError:
                # A partial line would swallow the next one. Giving space back needs none.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, whole)
                raise
        except OSError as error:
            self.lost += len(lines)
            self._why = error.strerror or type(error).__name__

    def close(self) -> None:
        """Append what is queued and close the file."""
        self.flush()
        os.close(self._descriptor)

    def changed(self, *, whole: bool = False) -> Change | None:
        """The gravest thing that somebody else has done to the file since this was last asked.

        ``whole``: read all of it. What is written over leaves the size as it was.
        """
        with contextlib.suppress(OSError):
            self._check_size()
            self._check_place()
            if whole and not self._seal.holds():
                self._seal.give_up()
                self._note("written over")
        changes, self._changes = self._changes, []
        return min(changes, key=lambda change: change.mended, default=None)

    def take_over(self) -> None:
        """Go on where the agent before has stopped, with what that one has written."""
        route = self._seal.take_over()
        if route:
            self._note(route, mended=self._seal.proves)
            self._unproven = not self._seal.proves

    def _check_size(self) -> None:
        there = os.fstat(self._descriptor).st_size
        if self._seal.kept and there > self._seal.size:
            os.ftruncate(self._descriptor, self._seal.size)
            self._note("written to", mended=True)
        elif self._seal.kept and there < self._seal.size:
            self._seal.give_up()
            self._note("cut short")

    def _check_place(self) -> None:
        path, self._path = self._path, None
        if path is not None:
            try:
                if os.path.samestat(path.lstat(), os.fstat(self._descriptor)):
                    self._path = path
                    return
            except OSError:
                pass
            self._note("moved or removed")

    def _note(self, route: str, *, mended: bool = False) -> None:
        self._changes.append(Change(route, mended))
        self._altered |= not mended

    def notes(self) -> tuple[str, ...]:
        """Say what is missing, for the report's coverage; empty when nothing is."""
        notes = []
        if self.lost:
            notes.append(
                f"The journal could not be written ({self._why}): {self.lost} events are not in "
                "it. The guard went on, and this report comes from memory."
            )
        if self._unproven:
            notes.append(
                "Somebody has changed the journal while no agent watched it: what this report says "
                "of the time before comes from it, and may be incomplete or forged."
            )
        elif self._altered:
            notes.append(
                "Somebody has changed the journal: events are missing in it, or are not ours. This "
                "report comes from memory."
            )
        return tuple(notes)


def read(lines: Iterable[bytes]) -> Iterator[Event]:
    """Read a journal back, leaving out what is no whole event.

    Only the last line can be cut short, by the death of the agent while it wrote. Any other
    line that cannot be read is from a foreign hand and proves nothing.
    """
    for line in lines:
        if not line.endswith(b"\n") or len(line) > _LARGEST_LINE:
            continue
        try:
            yield event_from_json(json.loads(line))
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


__all__ = ["Journal", "read"]
