# SPDX-License-Identifier: MIT
"""Keeps account of what was seen, and of what was not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from leakstop.model.clock import between
from leakstop.model.coverage import Finished, Gap, Loss
from leakstop.model.event import Event, Exec, Started
from leakstop.model.report import Away, Coverage

_NS = 1e9
_MOST_GAPS = 200
"""Told one by one: whoever is root can make as many as he likes."""

# Counters of the data plane behind which nothing was missed: it refused instead.
_REFUSED = {
    "addresses": (
        "address",
        "could not be learned, because the table was full; connections there count as not named.",
    ),
    "answers": (
        "DNS answer",
        "could not be read, so nothing was learned from it; connections there count as not named.",
    ),
    "names": (
        "name",
        "below a wildcard was refused, because the table of such names was full.",
    ),
    "secrets": (
        "secret",
        "was found and could not be watched, because the table was full; declared ones are.",
    ),
    "plaintexts": (
        "piece",
        "of what was sent was only scanned in the kernel: no room to look behind encodings.",
    ),
    "owners": (
        "process",
        "has no owner, because the table was full; rules for some hold of it where they deny.",
    ),
    "names_of_steps": (
        "program",
        "went on before its step or container had its name; till then no rule for it held.",
    ),
    "marks": ("process", "could not be marked as carrying a secret, and was killed instead."),
}

# Those behind which something was missed that is no event.
_MISSED = {
    "uplinks": (
        "network interface",
        "could not be watched: what left there without a socket was not judged.",
    ),
    "writes": (
        "write",
        "could not be read on the way into TLS; a secret there would not have been recognised.",
    ),
}


class CoverageLog:
    """How whole the guard was."""

    def __init__(self) -> None:
        self.first: Started | None = None
        self.started: Started | None = None
        self.last_ns = 0
        self._finished = False
        self._lost: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._gaps: list[Gap] = []
        self._unscanned = 0
        self._announced: dict[str, None] = {}
        self._notes: dict[str, None] = {}

    def see(self, event: Event) -> None:
        """Take ``event`` into account."""
        self.last_ns = max(self.last_ns, event.ts_ns)
        if isinstance(event, Exec):
            self._unscanned += event.unscanned
        elif isinstance(event, Loss):
            (self._lost if event.missed else self._refused)[event.where] += event.count
        elif isinstance(event, Gap):
            self._add(event)
        elif isinstance(event, Started):
            self.first = self.first or event
            self.started = event
            self._announced.update(dict.fromkeys(event.notes))
            self._finished = False
        elif isinstance(event, Finished):
            self._finished = True

    def note(self, text: str) -> None:
        """Add a sentence to the report, once."""
        self._notes[text] = None

    def _add(self, gap: Gap) -> None:
        """Beyond what is told one by one the last one grows."""
        if len(self._gaps) >= _MOST_GAPS:
            last = self._gaps.pop()
            undecided = last.undecided or gap.undecided
            gap = replace(gap, since_ns=last.since_ns, undecided=undecided)
        self._gaps.append(gap)

    @property
    def finished(self) -> bool:
        """The guard was taken down in order."""
        return self._finished

    @property
    def lost(self) -> int:
        """Events lost."""
        return sum(self._lost.values())

    @property
    def gaps(self) -> tuple[Away, ...]:
        """Times for which the guard was not whole."""
        return tuple(
            Away(
                self.epoch_s + gap.since_ns / _NS,
                self.epoch_s + gap.ts_ns / _NS,
                gap.why,
                gap.undecided,
            )
            for gap in self._gaps
        )

    @property
    def epoch_s(self) -> float:
        """Wall clock when the boot clock was 0, as it was when the guard began."""
        return self.first.wall_s - self.first.ts_ns / _NS if self.first is not None else 0.0

    @property
    def whole(self) -> bool:
        """Nothing is missing between the first event and the last."""
        return not (self.lost or self._gaps)

    def summary(self, *, agent_died: bool, more: tuple[str, ...] = ()) -> Coverage:
        """Return the account; ``more`` are sentences that belong to it now."""
        started = self.started
        notes = (*self._announced, *self._shortfalls(agent_died), *more, *self._notes)
        return Coverage(
            sensor=started.sensor if started else "",
            complete=started is not None and self.whole and not agent_died,
            lost_events=self.lost,
            notes=tuple(dict.fromkeys(notes)),
            agent_died=agent_died,
            gaps=self.gaps,
        )

    def _shortfalls(self, agent_died: bool) -> list[str]:
        notes = []
        if self.started is None:
            notes.append("The journal has no beginning: no guard is known to have been in force.")
        if agent_died:
            notes.append(
                "The agent ended before the guard was taken down; what happened after its last "
                "event is not known."
            )
        for where, count in sorted(self._lost.items()):
            noun, story = _MISSED.get(where, ("event", f"lost (counter `{where}`)."))
            notes.append(f"{_counted(count, noun)} {story}")
        for where, count in sorted(self._refused.items()):
            noun, story = _REFUSED[where]
            notes.append(f"{_counted(count, noun)} {story}")
        for gap in self.gaps:
            what = "Programs of the guard were off" if gap.undecided else "Nobody watched"
            notes.append(f"{what} {between(gap.since_s, gap.until_s)}: {gap.why}.")
        if self._unscanned:
            notes.append(
                f"The arguments of {_counted(self._unscanned, 'program')} could not be read "
                "whole; a secret in the rest would not have been recognised."
            )
        return notes


def _counted(count: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count} {noun if count == 1 else plural}"


__all__ = ["CoverageLog"]
