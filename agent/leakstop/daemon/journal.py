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
from pathlib import Path
from typing import BinaryIO

from leakstop.model.codec import event_from_json, event_to_json
from leakstop.model.event import Event

_LARGEST_LINE = 4 * 1024 * 1024
_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""Made once: ``json.dumps`` with separators makes one for every record."""


class Journal:
    """Appends events to a file. Writing never raises; what was lost is counted."""

    def __init__(self, descriptor: int) -> None:
        """Take over ``descriptor``, a file open for appending."""
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self.lost = 0
        """Events that could not be written."""
        self._why = ""
        self._size = os.fstat(descriptor).st_size
        self._shortened = False

    @classmethod
    def create(cls, path: Path, mode: int = 0o640) -> Journal:
        """Start a new journal at ``path``."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return cls(os.open(path, flags, mode))

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
            whole = os.fstat(self._descriptor).st_size
            self._shortened |= whole < self._size
            try:
                data = b"".join(lines)
                _write_all(self._descriptor, data)
                self._size = whole + len(data)
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

    def notes(self) -> tuple[str, ...]:
        """Say what is missing, for the report's coverage; empty when nothing is."""
        notes = []
        if self.lost:
            notes.append(
                f"The journal could not be written ({self._why}): {self.lost} events are not in "
                "it. The guard went on, and this report comes from memory."
            )
        if self._shortened:
            notes.append(
                "Somebody has shortened the journal: events are missing in it. This report comes "
                "from memory."
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
