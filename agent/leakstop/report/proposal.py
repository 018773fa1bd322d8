# SPDX-License-Identifier: MIT
"""A policy, proposed from what a run used.

Exact first: a host as it was seen, or the word that stands for it. Never proposed are
bare addresses, plain HTTP and flows that are neither TCP nor UDP: a person has to decide
on those, and is told so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from leakstop.detect.advice import destination_rule, docker_of, scoped_rule
from leakstop.model.flow import Flow, Stream, Transport
from leakstop.model.report import FlowRecord, Report, SecretView
from leakstop.model.verdict import Action, Reason
from leakstop.policy.scopes import EVERYBODY, Scope
from leakstop.report import escape
from leakstop.report.facts import Facts, by_host, plural
from leakstop.report.strange import is_fronted
from leakstop.report.vocabulary import Vocabulary


class Why(str, Enum):
    """Why somebody should look at a host before allowing it."""

    SECRET = "secret"
    """A secret that nobody has placed went there, or was about to."""
    SINK = "sink"
    """Anyone can store data there."""
    ADDRESS = "address"
    """A bare address."""
    PLAIN_HTTP = "plain-http"
    """Everybody on the way can read it."""
    TRUST = "trust"
    """It does not show its name: the line would trust whatever is at that address."""
    FRONT = "front"
    """Its connection went to an address that another name led to."""
    BUDGET = "budget"
    """A wildcard names it, and it is one name too many."""
    OTHERS = "others"
    """The policy allows it to somebody else."""
    PROTOCOL = "protocol"
    """It could not be read, or no rule can name it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a proposed ``allow``."""

    word: str
    """A destination or a preset, safe to paste."""
    flows: tuple[FlowRecord, ...]
    """What it was seen for."""
    scope: Scope = EVERYBODY
    """Whom it is for."""

    @property
    def rule(self) -> str:
        """As a policy has it: a text, or a map that says for whom it is."""
        return scoped_rule(self.word, self.scope)

    @property
    def folded(self) -> bool:
        """Whether the word stands for more than the host itself."""
        return all(flow.host not in self.word for flow in self.flows)

    @property
    def evidence(self) -> str:
        """``4 hosts · Checkout · git``, safe in a comment."""
        steps = list(dict.fromkeys(flow.step for flow in self.flows if flow.step))
        commands = {flow.process.command for flow in self.flows}
        hosts = plural(len(by_host(self.flows)), "host") if self.folded else ""
        where = ", ".join(steps[:3]) + (", …" if len(steps) > 3 else "")
        program = next(iter(commands)) if len(commands) == 1 else ""
        return " · ".join(escape.comment(part) for part in (hosts, where, program) if part)


@dataclass(frozen=True, slots=True)
class Look:
    """A host to look at, and why."""

    flow: FlowRecord
    """The first flow there."""
    whys: tuple[Why, ...]
    secrets: tuple[str, ...]
    """Unplaced secrets that a program had on its command line when it went there."""
    proposed: bool
    """Whether the proposal has a line for it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A secret with the home that the run suggests; empty when it suggests none."""

    secret: SecretView
    home: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to add to a policy."""

    lines: tuple[Line, ...]
    """For hosts that no rule names."""
    secrets: tuple[Placed, ...]
    looks: tuple[Look, ...]


_Called = Mapping[str, tuple[str, ...]]
"""By what a report calls a step: what a rule may call it."""
_CURABLE = frozenset({Reason.NOT_NAMED, Reason.IDENTITY})
"""What another line would allow."""


def propose(report: Report, facts: Facts, vocabulary: Vocabulary) -> Proposal:
    """Propose a policy for the flows of ``report`` that no rule names."""
    wanted = [*facts.unnamed, *(f for f in facts.denied if f.reason in _CURABLE)]
    presets = vocabulary.fold(flow for flow in wanted if escape.pasteable_host(flow.host))
    called = {step.name: step.names for step in report.steps}
    lines: dict[tuple[str, Scope], list[FlowRecord]] = {}
    looks: list[Look] = []
    for host, flows in by_host(wanted).items():
        unnamed = all(flow.reason is Reason.NOT_NAMED for flow in flows)
        index = vocabulary.index_word(host) if unnamed else ""
        preset = presets.get(host, "")
        folded = [flow for flow in flows if preset and vocabulary.allows(preset, flow)]
        words = {index: flows} if index else _words(flows, preset, folded)
        said = []
        for word, seen in words.items():
            for flow in seen:
                owner = _owner(flow, called)
                if owner is not None:
                    lines.setdefault((word, owner), []).append(flow)
                    said.append(word)
        look = _look(flows, facts.homeless, said)
        if look.whys and not index:
            looks.append(look)
    added = tuple(
        Line(word, tuple(seen), _narrowed(word, seen, called) if scope == EVERYBODY else scope)
        for (word, scope), seen in lines.items()
    )
    known = (*_named(facts), *added)
    return Proposal(
        lines=added,
        secrets=tuple(_place(secret, known) for secret in report.secrets),
        looks=tuple(looks),
    )


def _words(
    flows: Sequence[FlowRecord], preset: str, folded: Sequence[FlowRecord]
) -> dict[str, Sequence[FlowRecord]]:
    """The lines for the flows towards one host, ``folded`` of which ``preset`` names."""
    host = flows[0].host
    if not escape.pasteable_host(host):
        return {}
    words: dict[str, list[FlowRecord]] = {preset: list(folded)} if folded else {}
    rest = [flow for flow in flows if flow not in folded]
    used = [flow for flow in rest if flow.protocol is not Transport.DNS]
    for flow in used:
        if word := _word(flow):
            words.setdefault(word, []).append(flow)
    if not (used or folded) and rest[0].reason in _CURABLE:
        # Denied at the question, so nobody knows the port: most wanted the default one.
        denied = any(flow.applied is Action.DENY for flow in flows)
        asked = destination_rule(Flow(Transport.TCP, 443), host)
        words[asked if denied else f"dns://{host}"] = rest
    return dict(words)


def _narrowed(word: str, flows: Sequence[FlowRecord], called: _Called) -> Scope:
    """The one step that stores or publishes something there; else everybody."""
    storing = any(flow.sink for flow in flows) or word.startswith("publish:")
    steps = {flow.step for flow in flows}
    return _of_step(steps.pop(), called) if storing and len(steps) == 1 else EVERYBODY


def _owner(flow: FlowRecord, called: _Called) -> Scope | None:
    """Whom a line for ``flow`` is for; ``None`` if a line would take back what the policy says."""
    if not flow.only_for:
        return EVERYBODY
    scope = docker_of(flow.process.exe)
    scope = _of_step(flow.step, called) if scope == EVERYBODY else scope
    return None if scope == EVERYBODY else scope


def _of_step(shown: str, called: _Called) -> Scope:
    """By the name that people see if a rule goes by it, else by another that a rule goes by."""
    names = called.get(shown, (shown,))
    usable = (name for name in (shown, *names) if name in names and escape.pasteable_step(name))
    name = next(usable, "")
    return Scope(step=(name,)) if name else EVERYBODY


def _word(flow: FlowRecord) -> str:
    if flow.reason not in _CURABLE or _is_plain_http(flow):
        return ""  # what could not be read cannot be named either
    seen = Flow(flow.protocol, flow.port, stream=flow.stream, shown=flow.shown)
    return destination_rule(seen, flow.host)


def _is_plain_http(flow: FlowRecord) -> bool:
    if flow.stream is Stream.UNSEEN:
        return flow.protocol is Transport.TCP and flow.port == 80
    return flow.stream is Stream.HTTP


def _look(flows: Sequence[FlowRecord], homeless: Sequence[str], words: Collection[str]) -> Look:
    secrets = tuple(dict.fromkeys(s for flow in flows for s in flow.secrets if s in homeless))
    reasons = {
        Why.SECRET: bool(secrets),
        Why.SINK: any(flow.sink for flow in flows),
        Why.ADDRESS: not (flows[0].host or flows[0].what),
        Why.PLAIN_HTTP: any(map(_is_plain_http, flows)),
        Why.TRUST: any(word.startswith("tcp:") for word in words),
        Why.FRONT: any(map(is_fronted, flows)),
        Why.OTHERS: any(flow.only_for for flow in flows),
        Why.BUDGET: any(flow.reason is Reason.BUDGET for flow in flows),
        Why.PROTOCOL: any(flow.reason not in (*_CURABLE, Reason.BUDGET) for flow in flows)
        or not (words or escape.pasteable_host(flows[0].host or "address")),
    }
    whys = tuple(why for why, holds in reasons.items() if holds)
    return Look(flow=flows[0], whys=whys, secrets=secrets, proposed=bool(words))


def _named(facts: Facts) -> tuple[Line, ...]:
    """The lines that the policy in force has already."""
    lines: dict[str, list[FlowRecord]] = {}
    for flow in facts.egress:
        if flow.rule and flow.reason is Reason.ALLOW_RULE and flow.rule.via != "runner":
            word = flow.rule.via or flow.rule.text
            if escape.pasteable_rule(word):
                lines.setdefault(word, []).append(flow)
    return tuple(Line(word, tuple(seen)) for word, seen in lines.items())


def _place(secret: SecretView, lines: Sequence[Line]) -> Placed:
    if not escape.pasteable_variable(secret.name):
        return Placed(secret, "")
    if secret.home:
        written = secret.home[0] if secret.placed_by == "input" and len(secret.home) == 1 else ""
        return Placed(secret, written if escape.pasteable_rule(written) else "")
    homes = {line.word for line in lines for flow in line.flows if secret.name in flow.secrets}
    only = next(iter(homes)) if len(homes) == 1 else ""
    host = only.partition(":")[0]
    # A word for many hosts is no home: nobody saw the secret at all of them.
    return Placed(secret, only if "." in host and escape.pasteable_host(host) else "")
