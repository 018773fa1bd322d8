# SPDX-License-Identifier: MIT
"""Says in plain words what a policy makes of a destination, and which line of it did that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, Mode, Reason, Verdict
from leakstop.policy.match import (
    TCP_PROTOCOLS,
    at_home,
    covers,
    decide,
    is_sink,
    judge,
    speaks,
    to_address,
)
from leakstop.policy.rules import IPNetwork, NamePlace, Place, Policy, Protocol, Reach, Rule
from leakstop.policy.scopes import EVERYBODY, Scope

_NEAR = 3
"""Rules that just miss: a few help, all those of a long policy do not."""
_TAKEN = {
    frozenset({"sudo"}): "sudo is taken from the job, but with Docker it can still become root",
    frozenset({"docker"}): "Docker is taken from the job, but with sudo it can take it back",
    frozenset({"sudo", "docker"}): "sudo and Docker are taken from the job",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a policy makes of one flow. ``str`` is what the terminal shows."""

    flow: Flow
    mode: Mode
    verdict: Verdict
    rule: Rule | None
    """The rule that decided, if one did."""
    lookup: Verdict | None
    """Whether the name may be looked up; ``None`` if the flow is a lookup or has no name."""
    secrets: tuple[str, ...]
    """Names of the placed secrets that belong there."""
    sink: bool
    """Anyone can store data there."""
    near: tuple[str, ...]
    """Allows that miss the flow by a little, each as a sentence with its cure."""

    def __str__(self) -> str:
        return "\n".join(map(printable, self._lines()))

    def _lines(self) -> Iterator[str]:
        yield f"{describe_flow(self.flow)}: {describe_verdict(self.verdict, self.mode)}"
        if self.rule is not None:
            yield f"  rule: {describe_rule(self.rule)}"
            if self.rule.why:
                yield f"  why: {self.rule.why}"
        yield from (f"  near: {sentence}" for sentence in self.near)
        if self.lookup is not None and self.lookup.applied is not self.verdict.applied:
            outcome = "is answered" if self.lookup.applied is Action.ALLOW else "is refused"
            yield f"  lookup: the question for its name {outcome}"
        if self.sink:
            yield "  sink: anyone can store data there"
        yield f"  secrets: {self._belonging()}"

    def _belonging(self) -> str:
        if not self.secrets:
            return "none belongs there"
        return f"{', '.join(self.secrets)} may go there, and no other"


def explain(policy: Policy, flow: Flow, *, local: Sequence[IPNetwork] = ()) -> Explanation:
    """Explain what ``policy`` makes of ``flow``."""
    verdict, rule = judge(policy, flow, local=local)
    question = replace(flow, transport=Transport.DNS, port=0, ip="", names=flow.names[:1])
    asks = flow.names and flow.transport is not Transport.DNS
    unnamed = verdict.policy is Action.DENY and rule is None
    return Explanation(
        flow=flow,
        mode=policy.mode,
        verdict=verdict,
        rule=rule,
        lookup=decide(policy, question) if asks else None,
        secrets=tuple(secret for secret in policy.homes if at_home(policy, secret, flow)),
        sink=is_sink(policy, flow),
        near=tuple(islice(_near(policy, flow), _NEAR)) if unnamed else (),
    )


def describe_lockdown(policy: Policy) -> str:
    """Say what is taken from the job, whatever the mode; empty if nothing is."""
    taken = _TAKEN.get(policy.lockdown)
    return f"lockdown: {taken}" if taken else ""


def printable(text: str) -> str:
    """Write control characters as escapes: a policy may come from a pull request."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe_flow(flow: Flow) -> str:
    """Name where a flow goes, and over what: ``api.example.test:443 (TCP)``."""
    if flow.transport is Transport.DNS:
        return f"the lookup of {''.join(flow.names[:1])}"
    host = flow.names[0] if flow.names else flow.ip
    if flow.transport in (Transport.TCP, Transport.UDP):
        host = f"[{host}]:{flow.port}" if ":" in host else f"{host}:{flow.port}"
    over = "other protocols" if flow.transport is Transport.OTHER else flow.transport.value.upper()
    return f"{host} ({over})"


def describe_verdict(verdict: Verdict, mode: Mode) -> str:
    """Say what happens and in one clause why."""
    if verdict.reason is Reason.DENY_RULE:
        return "denied by a rule, and never red" if verdict.quiet else "denied by a rule"
    if verdict.reason is Reason.ALLOW_RULE:
        return "allowed by a rule"
    if verdict.reason is Reason.LOCAL:
        return "allowed, it stays on this machine"
    if mode is Mode.BLOCK:
        return "not named by any rule, so denied in block mode"
    return "not named by any rule, so let through and listed in audit mode"


def describe_rule(rule: Rule) -> str:
    """Say where a rule was written and what it covers."""
    via = f", from `{rule.ref.via}`" if rule.ref.via else ""
    where = f"`{rule.ref.text}` ({rule.ref.place()}{via})"
    alone = "" if rule.scope == EVERYBODY else f", for {describe_scope(rule.scope)} alone"
    return f"{where} covers {describe_place(rule.place)}, {describe_use(rule)}{alone}"


def describe_place(place: Place) -> str:
    """Say which names or addresses a place covers."""
    if not isinstance(place, NamePlace):
        single = place.network.prefixlen == place.network.max_prefixlen
        return f"the address {place}" if single else f"any address in {place}"
    if place.reach is Reach.ONE:
        return f"any name one level below {place.name}"
    if place.reach is Reach.DEEP:
        return f"any name one or more levels below {place.name}"
    return f"the name {place.name} alone"


def describe_use(rule: Rule) -> str:
    """Say what may be spoken there: ``TCP ports 80, 8000-8010``."""
    if rule.protocol is Protocol.ANY:
        return "every protocol and port"
    if rule.protocol is Protocol.DNS:
        return "its lookup"
    if rule.protocol is Protocol.ICMP:
        return "ICMP echo"
    spoken = {Protocol.TLS: "TLS on ", Protocol.HTTP: "HTTP on "}.get(rule.protocol, "")
    transport = "TCP" if rule.protocol in TCP_PROTOCOLS else "UDP"
    single = len(rule.ports) == 1 and rule.ports[0].first == rule.ports[0].last
    return f"{spoken}{transport} port{'' if single else 's'} {', '.join(map(str, rule.ports))}"


def describe_owner(rule: Rule) -> str:
    """Say whom a scoped rule is for, and where that is written."""
    return f"{describe_scope(rule.scope)} ({rule.ref.place()})"


def describe_scope(scope: Scope) -> str:
    """Say whom a scope covers: ``step `Publish```."""
    if scope.runner:
        return "the runner itself"
    said = {"process": scope.process, "container": scope.container, "step": scope.step}
    texts = (
        f"{noun} {' or '.join(f'`{name}`' for name in names)}"
        for noun, names in said.items()
        if names
    )
    return " in ".join(texts) or "everybody"


def _near(policy: Policy, flow: Flow) -> Iterator[str]:
    """Tell which allows would match but for one thing."""
    address = to_address(flow.ip)
    for rule in policy.rules:
        if rule.action is not Action.ALLOW:
            continue
        where = f"`{rule.ref.text}` ({rule.ref.place()})"
        if covers(rule.place, flow.names, address):
            meant = rule.scope.covers(flow.who)
            only = describe_use(rule) if meant else describe_scope(rule.scope)
            yield f"{where} covers it for {only} only"
        elif isinstance(rule.place, NamePlace) and speaks(rule, flow, denies=False):
            missed = (_missed(rule.place, name) for name in flow.names)
            yield from (f"{where} {what}" for what in missed if what)


def _missed(place: NamePlace, name: str) -> str:
    """Say by what a name misses a place of the same domain; empty for another domain."""
    if name == place.name:
        return f"covers names below {name}, not {name} itself"
    if not name.endswith("." + place.name):
        return ""
    if place.reach is Reach.ONE:
        return f"covers one level only; `**.{place.name}` would cover it"
    return f"covers {place.name} alone, no name below it"


__all__ = [
    "Explanation",
    "describe_flow",
    "describe_lockdown",
    "describe_owner",
    "describe_place",
    "describe_rule",
    "describe_scope",
    "describe_use",
    "describe_verdict",
    "explain",
    "printable",
]
