# SPDX-License-Identifier: MIT
"""What a denied host most likely means: a missing line, or an attack.

The criteria are printed with the reading: whoever is on call at night must be able to
disagree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from leakstop.detect.advice import docker_of
from leakstop.model.flow import Transport
from leakstop.model.report import UNSURE, FlowRecord
from leakstop.model.verdict import Action, Reason
from leakstop.policy.scopes import EVERYBODY
from leakstop.report.context import Context
from leakstop.report.headline import Dress
from leakstop.report.strange import MADE, named_but, oddities, was_cut

_ATTACKED = "guard-attacked"
_READ = frozenset({Reason.NOT_NAMED, Reason.IDENTITY, Reason.BUDGET})
"""Reasons to deny what could be read."""


class Likely(str, Enum):
    """What to think of a denied host."""

    MISSING_LINE = "missing-line"
    FORBIDDEN = "forbidden"
    """A rule of ``deny`` names it: somebody decided."""
    ATTACK = "attack"


@dataclass(frozen=True, slots=True)
class Reading:
    """The reading of all tries to reach one host."""

    flows: tuple[FlowRecord, ...]
    likely: Likely
    because: str
    """The criteria that decided, as a dressed part of a sentence."""

    @property
    def first(self) -> FlowRecord:
        """The first try."""
        return self.flows[0]

    @property
    def tries(self) -> int:
        """How often it was tried."""
        return sum(flow.count for flow in self.flows)

    @property
    def unsent(self) -> str:
        """What did not leave, as the beginning of a sentence."""
        return "No data was" if was_cut(self.first) else "Nothing was"

    @property
    def log_phrase(self) -> str:
        """What a program prints when this is refused: people search the log for it."""
        if self.first.protocol is Transport.DNS:
            return "Could not resolve host"
        if was_cut(self.first):
            return "Software caused connection abort"
        return "Operation not permitted"


def read(context: Context, flows: Sequence[FlowRecord], dress: Dress) -> Reading:
    """Judge the tries to reach one host."""
    first = flows[0]
    if first.reason is Reason.DENY_RULE and first.rule:
        rule = (
            f"{dress.quote(first.rule.via or first.rule.text)} ({dress.quote(first.rule.place())})"
        )
        return Reading(tuple(flows), Likely.FORBIDDEN, f"the rule {rule} denies it")
    docker = docker_of(first.process.exe) != EVERYBODY
    if docker and all(flow.only_for for flow in flows):
        because = (
            f"the policy allows it only for {dress.quote(first.only_for)}, and what Docker's "
            "daemon or a builder sends belongs to no step that asks for it"
        )
        return Reading(tuple(flows), Likely.MISSING_LINE, because)
    neighbour = _neighbour(context, first.host)
    against = _against(context, flows, neighbour, dress)
    if against:
        return Reading(tuple(flows), Likely.ATTACK, _sentence(against))
    known = "the step and the program are known here" if first.step else "the program is known"
    if first.step.endswith(UNSURE):
        known = "the program is known here (its step is not sure)"
    because = (
        f"{known}, the policy already names {dress.quote(neighbour)} of the same domain, "
        "and no watched secret was on the program's command line"
    )
    return Reading(tuple(flows), Likely.MISSING_LINE, because)


def _against(
    context: Context, flows: Sequence[FlowRecord], neighbour: str, dress: Dress
) -> list[str]:
    """What speaks against a missing line, strongest first."""
    first = flows[0]
    places = {flow.destination for flow in flows}
    carried = (f.secret for f in context.report.findings if f.secret and f.destination in places)
    points = [
        f"{dress.quote(name)} was on the program's command line" for name in dict.fromkeys(carried)
    ]
    if any(leak.step == first.step for leak in context.facts.leaks):
        points.append("a secret was on its way out in the same step")
    attackers = (each.step for each in context.report.findings if each.id == _ATTACKED)
    if first.step and first.step in attackers:
        points.append("the same step laid hands on the guard")
    if any(flow.sink for flow in flows):
        points.append("anyone can store data there")
    if first.ip and not first.host:
        points.append("it is a bare address, without a name")
    points += dict.fromkeys(odd for flow in flows for odd in oddities(flow, dress.quote))
    if any(_is_odd_question(flow) for flow in flows):
        points.append("ordinary programs do not ask for such records")
    elif any(flow.reason not in _READ and flow.origin not in MADE for flow in flows):
        points.append("it could not be read")
    if not first.process.exe:
        points.append("the program is not known")
    if context.in_workflow and not first.step and docker_of(first.process.exe) == EVERYBODY:
        points.append("it belongs to no step of the workflow")
    if first.host and not neighbour and not named_but(first):
        points.append("the policy names no other host of its domain")
    return points


def _is_odd_question(flow: FlowRecord) -> bool:
    return flow.protocol is Transport.DNS and flow.reason is Reason.PROTOCOL


def _neighbour(context: Context, host: str) -> str:
    """A host of the same domain that the policy names and this job used, or empty."""
    for flow in context.facts.egress:
        named = flow.policy_verdict is Action.ALLOW and flow.reason is Reason.ALLOW_RULE
        if named and not flow.sink and same_domain(host, flow.host):
            return flow.host
    return ""


def same_domain(host: str, other: str) -> bool:
    """Whether two names plainly belong to one owner: siblings, or parent and child.

    Without a list of public suffixes this errs on the side of "no": a short label under
    a country's domain (``co.uk``) is taken for a suffix, not for an owner.
    """
    domains = {_domain(host), host} & {_domain(other), other}
    return any(_is_owned(domain) for domain in domains)


def _domain(host: str) -> str:
    return host.partition(".")[2]


def _is_owned(domain: str) -> bool:
    labels = domain.split(".")
    if len(labels) < 2 or not all(labels):
        return False
    return len(labels) > 2 or len(labels[-1]) > 2 or len(labels[0]) > 3


def _sentence(points: Sequence[str]) -> str:
    if len(points) == 1:
        return points[0]
    return f"{', '.join(points[:-1])}, and {points[-1]}"
