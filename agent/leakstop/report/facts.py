# SPDX-License-Identifier: MIT
"""A report, sorted into what people ask about; every renderer starts from this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from leakstop.errors import ExitCode
from leakstop.model.finding import Finding, Severity
from leakstop.model.report import FlowRecord, Report
from leakstop.model.verdict import Action, Mode, Reason

DENIED_FINDING = "denied-flow"
UNPLACED_FINDING = "secret-unplaced"
COVERAGE_FINDING = "coverage-lost"
"""Detectors whose findings a section tells of in its own words."""
ADVICE_FINDING = "long-lived-publish-token"
"""A detector whose findings are no trouble of this run."""

_NOT_EGRESS = frozenset({Reason.LOCAL, Reason.RESOLVER})


class State(str, Enum):
    """The word that a report opens with, worst first."""

    LEAKED = "Leaked"
    STOPPED = "Stopped"
    NOT_PROTECTED = "Not protected"
    DENIED = "Denied"
    PARTLY_WATCHED = "Partly watched"
    WATCHED = "Watched"
    PROTECTED = "Protected"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report says, by kind."""

    state: State
    leaks: tuple[Finding, ...]
    """Secrets on their way out: stopped, or let go."""
    left: tuple[Finding, ...]
    """Those of ``leaks`` that are not known to have been stopped before the first byte."""
    others: tuple[Finding, ...]
    """Findings that neither ``leaks`` nor ``denied`` tell of."""
    advice: tuple[Finding, ...]
    """What could be done better, whatever this run did."""
    egress: tuple[FlowRecord, ...]
    """Flows that wanted to leave the machine."""
    denied: tuple[FlowRecord, ...]
    """Denied, and somebody should know."""
    quiet: tuple[FlowRecord, ...]
    """Denied as wanted, or to a service of the machine."""
    unnamed: tuple[FlowRecord, ...]
    """Passed, but no rule names them."""
    homeless: tuple[str, ...]
    """Secrets that went somewhere, noted and not stopped, and that nobody has placed yet."""
    uncertain: bool
    """Something was not watched: the sensor sees less, or events are missing."""
    encrypted: int
    """Connections that hide what they carry."""
    opaque: tuple[FlowRecord, ...]
    """Flows with connections among those that were not looked into before they encrypted it."""

    @property
    def uninspected(self) -> int:
        """How many connections were not looked into."""
        return sum(flow.encrypted - flow.inspected for flow in self.opaque)

    @property
    def hosts(self) -> int:
        """How many places were wanted."""
        return count_hosts(self.egress)

    @property
    def clean(self) -> bool:
        """Whether nobody has to do or know anything."""
        calm = self.state in (State.WATCHED, State.PROTECTED)
        return calm and not (self.unnamed or self.others or self.homeless)


def facts_of(report: Report) -> Facts:
    """Sort ``report``."""
    egress = tuple(
        flow
        for flow in _by_step(report)
        if flow.reason not in _NOT_EGRESS or flow.applied is Action.DENY
    )
    refused = [f for f in egress if f.applied is Action.DENY and f.reason is not Reason.LEAK]
    denied = tuple(flow for flow in refused if not (flow.quiet or flow.service))
    leaks = tuple(finding for finding in report.findings if _is_leak(finding))
    left = tuple(finding for finding in leaks if finding.bytes_left != 0)
    homeless = tuple(
        secret.name
        for secret in report.secrets
        if not secret.home and any(secret.name in flow.secrets for flow in egress)
    )
    uncertain = _is_uncertain(report)
    told = frozenset(flow.destination for flow in refused)
    return Facts(
        state=_state(report, leaks, left, denied, uncertain),
        leaks=leaks,
        left=left,
        others=tuple(
            finding
            for finding in _worst_by_step(report)
            if not (_is_leak(finding) or _is_told(finding, told, homeless, uncertain))
        ),
        advice=tuple(f for f in report.findings if f.id == ADVICE_FINDING),
        egress=egress,
        denied=denied,
        quiet=tuple(flow for flow in refused if flow.quiet or flow.service),
        unnamed=tuple(
            flow
            for flow in egress
            if (flow.policy_verdict, flow.applied) == (Action.DENY, Action.ALLOW)
            and flow.reason is not Reason.LEAK
            and not flow.service
        ),
        homeless=homeless,
        uncertain=uncertain,
        encrypted=sum(flow.encrypted for flow in egress),
        opaque=tuple(flow for flow in egress if flow.encrypted > flow.inspected),
    )


def _ranks(report: Report) -> Mapping[str, int]:
    """Which step came first; what belongs to none comes last."""
    ranks = {step.name: number for number, step in enumerate(report.steps)}
    for flow in report.flows:  # of a report that knows no order of steps
        ranks.setdefault(flow.step, len(ranks))
    return {**ranks, "": len(ranks)}


def _by_step(report: Report) -> list[FlowRecord]:
    """Flows by step and command, both in the order in which they began."""
    ranks = _ranks(report)
    commands: dict[tuple[str, str], int] = {}
    for flow in report.flows:
        commands.setdefault((flow.step, flow.process.command), len(commands))
    return sorted(
        report.flows,
        key=lambda flow: (ranks[flow.step], commands[flow.step, flow.process.command]),
    )


def _worst_by_step(report: Report) -> list[Finding]:
    """Findings, the most severe first, and those of a kind by step."""
    ranks = _ranks(report)
    last = len(ranks)
    return sorted(
        report.findings, key=lambda each: (-each.severity.rank, ranks.get(each.step, last))
    )


def _is_leak(finding: Finding) -> bool:
    # Milder `secret-` findings tell of a secret that nobody has placed yet: nothing leaked.
    return finding.id.startswith("secret-") and finding.severity.reaches(Severity.HIGH)


def _is_uncertain(report: Report) -> bool:
    coverage = report.coverage
    lost = coverage.agent_died or coverage.lost_events or not coverage.complete
    return bool(lost) or coverage.sensor != "kernel" or report.exit_code is ExitCode.COVERAGE


def _is_told(
    finding: Finding, denied: frozenset[str], homeless: tuple[str, ...], uncertain: bool
) -> bool:
    """Whether a section of its own tells what ``finding`` says, and more."""
    if finding.id == DENIED_FINDING:
        return finding.destination in denied
    if finding.id == UNPLACED_FINDING:
        return finding.secret in homeless or finding.destination in denied
    return finding.id == ADVICE_FINDING or (finding.id == COVERAGE_FINDING and uncertain)


def _state(
    report: Report,
    leaks: tuple[Finding, ...],
    left: tuple[Finding, ...],
    denied: tuple[FlowRecord, ...],
    uncertain: bool,
) -> State:
    if leaks:
        return State.LEAKED if left else State.STOPPED
    coverage = report.coverage
    if coverage.agent_died or coverage.gaps or report.exit_code is ExitCode.COVERAGE:
        return State.NOT_PROTECTED
    if denied:
        return State.DENIED
    if uncertain:
        return State.PARTLY_WATCHED
    return State.PROTECTED if report.mode is Mode.BLOCK else State.WATCHED


def by_host(flows: Iterable[FlowRecord]) -> Mapping[str, tuple[FlowRecord, ...]]:
    """Group flows by the name or address that they went to; the first try comes first in a group.

    What goes nowhere yet, like a raw socket, is a group under its own words.
    """
    groups: dict[str, list[FlowRecord]] = {}
    for flow in flows:
        groups.setdefault(flow.what or flow.host or flow.ip, []).append(flow)
    return {
        host: tuple(sorted(group, key=lambda flow: flow.first_ns)) for host, group in groups.items()
    }


def count_hosts(flows: Iterable[FlowRecord]) -> int:
    """How many different places ``flows`` went to."""
    return len({flow.host or flow.ip for flow in flows if not flow.what})


def without_place(flows: Iterable[FlowRecord]) -> str:
    """``a raw socket and a socket option``: what was asked for that is no host."""
    return " and ".join(dict.fromkeys(flow.what for flow in flows if flow.what))


def plural(count: int, one: str, many: str = "") -> str:
    """``1 host``, ``2 hosts``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
