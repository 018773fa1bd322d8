# SPDX-License-Identifier: MIT
"""Shows events to the detectors and keeps what they find, each cause once.

A detector that fails harms neither the others nor the guard: the failure is a finding of
its own, and after three the detector is switched off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from leakstop.detect.detector import Context, Detector, Sighting
from leakstop.engine.lineage import Step, brief
from leakstop.model.event import Event
from leakstop.model.finding import Finding, Severity
from leakstop.model.process import UNKNOWN

DETECTOR_ERROR = "detector-error"
_FAILURES = 3
_PER_KIND = 1000
"""Findings kept of one id, severity and weight: a flood of mild ones hides no grave one."""
_ARGV_BUDGET = 16 << 20
"""Characters of command lines kept whole; findings beyond it get short ones."""


@dataclass(slots=True)
class _Entry:
    finding: Finding
    step: Step

    def named(self) -> Finding:
        """The finding, with the name that its step has by now."""
        return replace(self.finding, step=self.step.name)


class Findings:
    """What the detectors found."""

    def __init__(self, detectors: Iterable[Detector[Any]]) -> None:
        self._by_kind: dict[type[Event], list[Detector[Any]]] = {}
        for detector in detectors:
            for kind in detector.meta.needs:
                self._by_kind.setdefault(kind, []).append(detector)
        self._entries: dict[tuple[Hashable, ...], _Entry] = {}
        self._kinds: Counter[tuple[Hashable, ...]] = Counter()
        self._failures: Counter[str] = Counter()
        self._argv_left = _ARGV_BUDGET
        self._unlisted = 0

    def wanted(self, kind: type[Event]) -> bool:
        """Whether any detector looks at events of this kind."""
        return kind in self._by_kind

    def show(self, event: Event, context: Context, step: Step) -> None:
        """Show ``event`` to the detectors that want it."""
        for detector in self._by_kind.get(type(event), ()):
            name = detector.meta.id
            if self._failures[name] >= _FAILURES:
                continue
            try:
                sightings = list(detector.on_event(event, context))
            except Exception as error:  # noqa: BLE001 -- a fault in one must not blind the others
                self._failures[name] += 1
                sightings = [_failed(name, error, event, context)]
            for sighting in sightings:
                self._add(sighting, step)

    @property
    def broken(self) -> tuple[str, ...]:
        """The detectors that failed, in alphabetical order."""
        return tuple(sorted(self._failures))

    @property
    def unlisted(self) -> int:
        """Findings that the list has no room for."""
        return self._unlisted

    def listed(self) -> tuple[Finding, ...]:
        """Return the findings, each cause once in each step."""
        merged: dict[tuple[Hashable, ...], Finding] = {}
        for key, entry in self._entries.items():
            finding = entry.named()
            place = (*key[:-1], finding.step)
            merged[place] = _join(merged[place], finding) if place in merged else finding
        return tuple(merged.values())

    def _add(self, sighting: Sighting, step: Step) -> None:
        finding = sighting.finding
        key = (finding.id, *sighting.cause, step)
        entry = self._entries.get(key)
        if entry is not None:
            entry.finding = _join(entry.finding, finding)
            return
        kind = (finding.id, finding.severity, finding.failing)
        if self._kinds[kind] == _PER_KIND:
            self._unlisted += 1
            return
        self._kinds[kind] += 1
        self._entries[key] = _Entry(self._fitted(finding), step)

    def _fitted(self, finding: Finding) -> Finding:
        size = sum(map(len, finding.process.argv))
        process = finding.process if size <= self._argv_left else brief(finding.process)
        self._argv_left -= min(size, self._argv_left)
        return replace(finding, process=process, count=max(1, finding.count))


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Order findings for people: most severe first, then in order of time."""
    return tuple(sorted(findings, key=lambda found: (-found.severity.rank, found.ts_ns)))


def _join(first: Finding, more: Finding) -> Finding:
    ts_ns = min(first.ts_ns, more.ts_ns)
    return replace(first, count=first.count + more.count, ts_ns=ts_ns)


def _failed(name: str, error: Exception, event: Event, context: Context) -> Sighting:
    # Only the kind of error: its text may quote what was observed.
    done = f"`{name}` failed on an event ({type(error).__name__}); the other detectors saw it."
    finding = Finding(
        id=DETECTOR_ERROR,
        severity=Severity.LOW,
        title="A detector failed",
        process=context.process if context.process is not UNKNOWN else UNKNOWN,
        destination=context.destination,
        secret="",
        encoding="",
        step="",
        action_taken=done,
        what_to_do=(
            "This is a fault of Leakstop: please report it with the job's journal. "
            f"After {_FAILURES} failures a detector is switched off for the rest of the job."
        ),
        ts_ns=event.ts_ns,
        failing=False,
    )
    return Sighting((name,), finding)


__all__ = ["DETECTOR_ERROR", "Findings", "worst_first"]
