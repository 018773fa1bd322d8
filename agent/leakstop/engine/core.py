# SPDX-License-Identifier: MIT
"""Turns events into commands and, in the end, into a report.

No I/O and no clock: time is what events say. So the same events give the same report,
whether they come from the kernel, from the journal of an agent that died, or from a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leakstop import __version__
from leakstop.detect.coverage_lost import agent_died as died_finding
from leakstop.detect.detector import ATTEMPTS, Attempt, Context
from leakstop.detect.registry import DETECTORS
from leakstop.engine.aim import Aim, aim_of
from leakstop.engine.commands import Command, Cut, Kill
from leakstop.engine.contradiction import contradiction
from leakstop.engine.coverage import CoverageLog
from leakstop.engine.findings import Findings, worst_first
from leakstop.engine.flows import Flows
from leakstop.engine.inspection import Inspection, cover_of
from leakstop.engine.inventory import Inventory
from leakstop.engine.judge import Judge, Opinion
from leakstop.engine.lineage import Lineage, Step
from leakstop.engine.names import Names
from leakstop.engine.owners import Owners
from leakstop.engine.relays import Relays
from leakstop.engine.streams import Streams
from leakstop.engine.verdict import exit_code
from leakstop.errors import ExitCode
from leakstop.model.container import ContainerAsked, ContainerSeen
from leakstop.model.event import (
    Answer,
    Bound,
    Connect,
    Event,
    Exec,
    Exit,
    Fork,
    Opaque,
    ProcessSeen,
    Question,
    SecretFound,
    ShapeSeen,
    Started,
    StepSeen,
    StreamSeen,
    TlsSeen,
    Write,
)
from leakstop.model.flow import Flow, Stream
from leakstop.model.report import FlowRecord, Job, PolicyView, Report, SecretView, at_port
from leakstop.model.tamper import KERNEL_TRICKS, Tamper, Trick
from leakstop.model.verdict import Action, Carriage, Mode, Reason
from leakstop.policy.canonical import to_document
from leakstop.policy.rules import IPNetwork, Policy

_NO_JOB = Job()
_NO_STEP = Step()
_OF_A_PROCESS = (SecretFound, ShapeSeen, Tamper, ContainerAsked)
"""Shown to detectors with the process, besides attempts."""
_UNNAMED = frozenset({Reason.NOT_NAMED, Reason.IDENTITY})
"""Why the mode denies: nobody asked for the place, or for it as it shows itself."""


class Engine:
    """One guarded job, from its first event to its report."""

    def __init__(
        self,
        policy: Policy,
        secrets: Sequence[SecretView],
        *,
        job: Job = _NO_JOB,
        version: str = __version__,
        local: Sequence[IPNetwork] = (),
    ) -> None:
        self._policy = policy
        self._inventory = Inventory(secrets)
        self._job = job
        self._version = version
        self._coverage = CoverageLog()
        self._lineage = Lineage()
        self._names = Names()
        self._owners = Owners(self._lineage)
        self._relays = Relays(self._lineage)
        self._judge = Judge(policy, local)
        self._flows = Flows()
        self._streams = Streams(self._flows)
        self._inspection = Inspection(self._flows)
        self._findings = Findings(detector() for detector in DETECTORS)
        self._ours = True
        self._contradicted = False

    @property
    def mode(self) -> Mode:
        """The mode in force: the guard's own word, and until it speaks the policy's."""
        started = self._coverage.started
        return started.mode if started is not None else self._policy.mode

    @property
    def lineage(self) -> Lineage:
        """Who made whom."""
        return self._lineage

    def feed(self, event: Event) -> list[Command]:
        """Take in one event; return what has to be done at once."""
        self._coverage.see(event)
        if isinstance(event, ATTEMPTS):
            return self._attempt(event)
        self._follow(event)
        if self._findings.wanted(type(event)):
            self._show(event)
        return []

    def report(self, *, final: bool = True, agent_died: bool | None = None) -> Report:
        """Say everything about the job so far. Changes nothing, so it may be asked at any time.

        A ``final`` report without a ``Finished`` event means that the agent died, unless the
        caller knows better and says so with ``agent_died``.
        """
        coverage = self._coverage
        died = final and not coverage.finished if agent_died is None else agent_died
        found = self._findings.listed()
        findings = worst_first((*found, died_finding(coverage.last_ns)) if died else found)
        code = exit_code(
            findings,
            self._flows.denied,
            mode=self.mode,
            fail_on=self._policy.fail_on,
            whole=coverage.whole and not self._findings.broken,
            agent_died=died or bool(coverage.gaps),
        )
        first = coverage.first
        offset_ns = first.ts_ns if first is not None else 0
        started_s = first.wall_s if first is not None else 0.0
        return Report(
            verdict="pass" if code is ExitCode.CLEAN else "fail",
            exit_code=code,
            mode=self.mode,
            leak=self._policy.leak,
            policy=self._policy_view(),
            coverage=coverage.summary(agent_died=died, more=self._omissions()),
            findings=findings,
            flows=self._flows.listed(),
            secrets=self._inventory.listed(),
            job=self._job,
            started_s=started_s,
            finished_s=started_s + max(0, coverage.last_ns - offset_ns) / 1e9,
            version=self._version,
            offset_ns=offset_ns,
            steps=self._lineage.steps,
        )

    def _follow(self, event: Event) -> None:
        """Keep the tables of processes and names up to date."""
        self._owners.see(event)
        if isinstance(event, (Fork, Exec)):
            if isinstance(event, Fork):
                self._lineage.forked(event)
            else:
                self._lineage.became(event)
            self._names.forget(event.pid)
            self._inspection.forget(event.pid)
        elif isinstance(event, Exit):
            self._lineage.ended(event)
        elif isinstance(event, Answer):
            self._names.answered(event)
        elif isinstance(event, ProcessSeen):
            self._lineage.seen(event)
        elif isinstance(event, StepSeen):
            self._lineage.step_began(event)
        elif isinstance(event, ContainerSeen):
            self._lineage.contained(event)
        elif isinstance(event, Bound):
            self._relays.bound(event)
        elif isinstance(event, TlsSeen):
            self._inspection.seen(event)
        elif isinstance(event, Opaque):
            self._inspection.opaque(event)
        elif isinstance(event, SecretFound):
            self._inventory.found(event, self._lineage.step_of(event.pid))
        elif isinstance(event, Started):
            self._begin(event)

    def _begin(self, event: Started) -> None:
        self._lineage.begin(event)
        self._ours = event.policy_digest == self._policy.digest
        if not self._ours:
            self._coverage.note(
                "For a time another policy was in force than the one of this report "
                f"(`{event.policy_digest}`): the rules of that time are named by this one."
            )

    def _show(self, event: Event) -> None:
        """Show detectors an event that is no attempt."""
        context = Context(self._policy, self.mode, self._inventory.by_name, job=self._job)
        context = replace(context, epoch_s=self._coverage.epoch_s)
        step = _NO_STEP
        if isinstance(event, _OF_A_PROCESS) and event.pid:
            if isinstance(event, Tamper) and self._is_strangers(event):
                return
            step = self._lineage.step_of(event.pid)
            view, service = self._lineage.view(event.pid), self._lineage.is_service(event.pid)
            context = replace(context, process=view, service=service)
        if isinstance(event, ShapeSeen):
            place = event.name or self._names.host_for(event.ip, event.pid) or event.ip
            where = at_port(place, event.port)
            context = replace(context, place=place, destination=where)
        self._findings.show(event, context, step)

    def _is_strangers(self, event: Tamper) -> bool:
        """Whether somebody else on the machine did it, where only a part of it is guarded."""
        whole = self._coverage.started is None or self._coverage.started.scope == "machine"
        ours = event.trick is Trick.JOURNAL or event.trick in KERNEL_TRICKS
        return not (whole or ours or self._lineage.knows(event.pid))

    def _attempt(self, event: Attempt) -> list[Command]:
        """Explain, count and show an attempt to reach something; stop a leak under way."""
        new = _is_new(event, self._names)
        aim = aim_of(event, self._names, self._owners.who(event.pid))
        opinion = self._judge.explain_attempt(event, aim.flow, self._owners)
        agreed = opinion.policy is event.policy
        if not agreed:
            self._note_contradiction(event, aim, opinion)
        # A budget is the rule's own: the reference allows each name and cannot count them.
        ruled = agreed or event.reason is Reason.BUDGET
        local = event.reason is Reason.LOCAL
        record = FlowRecord(
            host=aim.host,
            ip=aim.ip,
            port=aim.flow.port,
            protocol=aim.flow.transport,
            process=self._lineage.view(event.pid),
            step="",
            policy_verdict=event.policy,
            applied=event.applied,
            reason=event.reason,
            rule=opinion.rule if ruled else None,
            count=int(new),
            first_ns=event.ts_ns,
            quiet=agreed and opinion.quiet,
            service=_is_unnamed(event) and self._lineage.is_service(event.pid),
            secrets=_noted(event),
            stopped=_stopped(event),
            sink=opinion.sink,
            origin=aim.origin,
            what=aim.what,
            stream=aim.flow.stream,
            shown=aim.flow.shown,
            over=aim.over,
            relayed_for=None if local else self._relays.client_of(event.pid),
            only_for=opinion.only_for if agreed else "",
        )
        step = self._lineage.step_of(event.pid)
        self._findings.show(event, self._context(event, record, aim.flow), step)
        self._count(event, record, step, opinion)
        return self._commands(event, record.destination)

    def _count(self, event: Attempt, record: FlowRecord, step: Step, opinion: Opinion) -> None:
        asks_tls = record.rule is not None and opinion.asks_tls
        if isinstance(event, Write):
            self._ride(event, record, step)
        elif isinstance(event, StreamSeen):
            key, before = self._streams.showed(event, record, step)
            if before is not None:
                self._inspection.turned(event.pid, before)
            cover = cover_of(record, event.stream, asks_tls=asks_tls)
            self._inspection.opened(event.pid, record, key, cover)
        elif isinstance(event, Connect):
            self._relays.connected(event)
            key = self._streams.connected(event, record, step)
            cover = cover_of(record, Stream.UNSEEN, asks_tls=asks_tls)
            self._inspection.opened(event.pid, record, key, cover)
        # What a rule allows is only asked for on the way to a connection, which says it all.
        elif Action.DENY in (event.policy, event.applied):
            self._flows.add(record, step)

    def _ride(self, event: Write, record: FlowRecord, step: Step) -> None:
        """Count what was written on the connection that it was written to: it is no other try."""
        if not event.ip:
            return
        reason = Reason.ALLOW_RULE if event.policy is Action.ALLOW else Reason.NOT_NAMED
        like = replace(record, applied=Action.ALLOW, reason=reason)
        for key in (self._streams.under(event), self._flows.key(like, step)):
            if key is not None and self._flows.rode(key, record):
                return
        self._flows.add(record, step)

    def _context(self, event: Attempt, record: FlowRecord, flow: Flow) -> Context:
        return Context(
            policy=self._policy,
            mode=self.mode,
            secrets=self._inventory.by_name,
            process=record.process,
            start_ns=self._lineage.start_of(event.pid),
            flow=flow,
            place=record.host or record.ip,
            destination=record.destination,
            over=record.over,
            relayed_for=record.relayed_for,
            only_for=record.only_for,
            rule=record.rule,
            quiet=record.quiet,
            service=record.service,
            job=self._job,
            watching=self._watching,
            tries=record.count,
        )

    @property
    def _watching(self) -> bool:
        """The portable sensor only watches."""
        started = self._coverage.started
        return started is not None and started.sensor == "portable"

    def _commands(self, event: Attempt, destination: str) -> list[Command]:
        """What to do at once. The portable sensor only watches, so nothing there."""
        if self._watching:
            return []
        commands: list[Command] = []
        # 0 is a process that nobody knows, and 1 is never the one that leaks.
        if event.carriage is Carriage.KILL and not event.killed and event.pid > 1:
            secrets = ", ".join(_carried(event))
            why = f"on the way to {destination} with {secrets or 'a secret'}"
            commands.append(Kill(event.pid, self._lineage.start_of(event.pid), why))
        late = isinstance(event, Write) and event.late and event.carriage is Carriage.KILL
        if event.cookie and (late or event.applied is Action.DENY):
            commands.append(Cut(event.cookie, event.pid))
        return commands

    def _note_contradiction(self, event: Attempt, aim: Aim, opinion: Opinion) -> None:
        if self._contradicted or not (self._ours and self._coverage.whole):
            return
        if told := contradiction(event, aim, opinion, self._names):
            self._contradicted = True
            self._coverage.note(told)

    def _omissions(self) -> tuple[str, ...]:
        """Sentences about what this report leaves out."""
        notes = [
            f"The detector `{name}` failed: what it looks for may have been missed."
            for name in self._findings.broken
        ]
        if self._flows.unlisted:
            notes.append(
                f"The list of flows is full: {self._flows.unlisted} further tries are not in it."
            )
        if self._inventory.unlisted:
            notes.append(
                f"The list of secrets is full: {self._inventory.unlisted} that were found are "
                "not in it."
            )
        if self._findings.unlisted:
            notes.append(
                f"The list of findings is full: {self._findings.unlisted} more are not in it."
            )
        return tuple(notes)

    def _policy_view(self) -> PolicyView:
        policy = self._policy
        return PolicyView(policy.digest, policy.sources, to_document(policy))


def _is_unnamed(event: Attempt) -> bool:
    """Whether the mode decides, and not the policy: no rule can name a raw socket."""
    return event.reason in _UNNAMED or (isinstance(event, Connect) and event.via == "socket")


def _is_new(event: Attempt, names: Names) -> bool:
    """Whether ``event`` is a try of its own."""
    if isinstance(event, Question):
        return names.asked(event)
    return not isinstance(event, Write)


def _noted(event: Attempt) -> tuple[str, ...]:
    """The secrets that went along and were not stopped."""
    return _carried(event) if event.applied is Action.ALLOW else ()


def _stopped(event: Attempt) -> tuple[str, ...]:
    """The secrets that were stopped on a connection that exists."""
    sent = isinstance(event, Write) and event.applied is Action.DENY
    return _carried(event) if sent else ()


def _carried(event: Attempt) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hit.secret for hit in event.hits))


__all__ = ["Engine"]
