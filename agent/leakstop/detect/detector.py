# SPDX-License-Identifier: MIT
"""What a detector is: it is shown events, and says what a person should know.

A detector owns no socket, file or clock, and learns of the world only through the event
and its ``Context``. It may remember what it has already said. The engine counts repeats,
fills in the step, and isolates a detector that fails.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar, Union

from leakstop.model.event import Connect, Event, Question, StreamSeen, Write
from leakstop.model.finding import Finding, Severity
from leakstop.model.flow import Flow, Transport
from leakstop.model.process import UNKNOWN, ProcessView
from leakstop.model.report import Job, SecretView
from leakstop.model.verdict import Mode, RuleRef
from leakstop.policy.rules import Policy

Try = Union[Connect, Question, StreamSeen]
"""An event that tries to reach something."""
TRIES = (Connect, Question, StreamSeen)
Attempt = Union[Try, Write]
"""Those, and what is sent on a connection that was made before."""
ATTEMPTS = (*TRIES, Write)

_NOWHERE = Flow(Transport.OTHER)
_NO_JOB = Job()

Seen = TypeVar("Seen", bound=Event)


@dataclass(frozen=True, slots=True)
class DetectorMeta:
    """What is true of every finding of a detector. The docs page repeats it, a test compares."""

    id: str
    """Kebab case; the file is named the same, in snake case."""
    title: str
    """Constant: it is shown where nothing is escaped or masked."""
    severity: Severity
    """The worst that it reports."""
    needs: tuple[type[Event], ...]
    """The kinds of events that it is shown."""
    incident: str
    """What happened in the world that it would have caught."""
    since: str
    """First release that has it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the engine knows around an event."""

    policy: Policy
    mode: Mode
    """In force; not ``policy.mode``, which the guard may have had to weaken."""
    secrets: Mapping[str, SecretView] = field(default_factory=dict)
    """By name."""
    process: ProcessView = UNKNOWN
    start_ns: int = 0
    """When ``process`` began: with its pid, the key of a process."""
    flow: Flow = _NOWHERE
    """The attempt as the policy judges it."""
    place: str = ""
    """The name that was asked for or led there, else the bare address."""
    destination: str = ""
    """``place`` with its port, if it has one."""
    over: str = ""
    """The destination of the connection, where its stream asks for another one than that."""
    relayed_for: ProcessView | None = None
    """Who may have sent this through ``process``."""
    only_for: str = ""
    """Whom a rule allows it to instead, and where; empty if none does."""
    rule: RuleRef | None = None
    """The rule that decided."""
    quiet: bool = False
    """That rule wants its denial unreported."""
    service: bool = False
    """The process belongs to the machine, not to the job."""
    job: Job = _NO_JOB
    watching: bool = False
    """The sensor can only watch, so nothing was stopped."""
    epoch_s: float = 0.0
    """Wall clock when the boot clock of ``ts_ns`` was 0."""
    tries: int = 1
    """0 for the other half of a pair of questions, A and AAAA, that are one try."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A finding, and what makes it the same as another one."""

    cause: tuple[Hashable, ...]
    """Sightings of one detector with equal causes in one step are one finding, counted."""
    finding: Finding


class Detector(ABC, Generic[Seen]):
    """One kind of trouble."""

    meta: DetectorMeta

    @abstractmethod
    def on_event(self, event: Seen, context: Context) -> Iterator[Sighting]:
        """Look at one event of the kinds in ``meta.needs``."""


class Once:
    """Remembers what was said, within bounds: the oldest is forgotten first."""

    def __init__(self, limit: int = 4096) -> None:
        self._said: OrderedDict[Hashable, None] = OrderedDict()
        self._limit = limit

    def first(self, key: Hashable) -> bool:
        """Whether ``key`` is new; it is not the next time."""
        if key in self._said:
            return False
        self._said[key] = None
        if len(self._said) > self._limit:
            self._said.popitem(last=False)
        return True


__all__ = [
    "ATTEMPTS",
    "TRIES",
    "Attempt",
    "Context",
    "Detector",
    "DetectorMeta",
    "Once",
    "Sighting",
    "Try",
]
