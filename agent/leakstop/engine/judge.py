# SPDX-License-Identifier: MIT
"""Explains what the kernel decided, by the reference of what a policy means.

The kernel's verdict stands, whatever comes out here: it is what happened. The reference
adds the rule, and whether the place is one where anyone can store data.

The reference reads every rule, which takes 13 ms for a policy of 10,000. So it is only
given those that could be about the flow: whoever scans a network must not keep the agent
from reading events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

from leakstop.detect.detector import Attempt
from leakstop.engine.owners import Owners
from leakstop.model.event import Question
from leakstop.model.flow import Flow
from leakstop.model.verdict import Action, Reason, RuleRef
from leakstop.policy.explain import describe_owner
from leakstop.policy.match import (
    IPAddress,
    decide,
    for_others,
    is_sink,
    plain_network,
    to_address,
)
from leakstop.policy.rules import IPNetwork, NamePlace, Policy, Protocol, Rule
from leakstop.policy.scopes import EVERYBODY

_CACHE = 8192
_BY_RULES = frozenset(
    {Reason.NOT_NAMED, Reason.ALLOW_RULE, Reason.DENY_RULE, Reason.LEAK, Reason.IDENTITY}
)
"""Verdicts that follow from the flow alone; the others hold what only the sensor knows."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the reference says of a flow."""

    policy: Action
    rule: RuleRef | None
    quiet: bool
    sink: bool
    asks_tls: bool
    """The rule lets nothing pass but TLS."""
    only_for: str
    """Whom a rule allows it to instead, in words; empty if none does."""


class Judge:
    """Asks the reference, once for each distinct flow."""

    def __init__(self, policy: Policy, local: Sequence[IPNetwork]) -> None:
        self._policy = policy
        self._local = local
        self._rules = _Index(policy.rules)
        self._sinks = _Index(policy.sinks)
        self._known: dict[tuple[Flow, bool], Opinion] = {}

    def explain_attempt(self, event: Attempt, flow: Flow, owners: Owners) -> Opinion:
        """Say what the policy means for ``flow``, for whom the kernel took it to be."""
        # A packet without a socket is nobody's that is known, and a resolver's question that of
        # who has asked it, and was judged by it.
        if not event.pid or (isinstance(event, Question) and owners.relays(event.pid)):
            return self.explain(flow, anyone=True)
        opinion = self.explain(flow)
        if opinion.policy is not event.policy:
            before = replace(flow, who=owners.who_before(event.pid, event.ts_ns))
            earlier = self.explain(before)
            if earlier.policy is event.policy:
                return earlier
        return opinion

    def explain(self, flow: Flow, *, anyone: bool = False) -> Opinion:
        """Say what the policy means for ``flow``, or for whoever might be meant by a rule."""
        opinion = self._known.get((flow, anyone))
        if opinion is None:
            if len(self._known) >= _CACHE:
                self._known.clear()
            opinion = self._known[flow, anyone] = self._ask(flow, anyone=anyone)
        return opinion

    def _ask(self, flow: Flow, *, anyone: bool) -> Opinion:
        rules, sinks = self._rules.about(flow), self._sinks.about(flow)
        if anyone:
            rules = tuple(_for_anyone(rules))
        policy = replace(self._policy, rules=rules, sinks=sinks)
        verdict = decide(policy, flow, local=self._local)
        asks_tls = any(rule.ref == verdict.rule and rule.protocol is Protocol.TLS for rule in rules)
        sink = is_sink(policy, flow)
        unnamed = verdict.policy is Action.DENY and verdict.rule is None
        others = for_others(rules, flow) if unnamed else None
        only_for = describe_owner(others) if others is not None else ""
        return Opinion(verdict.policy, verdict.rule, verdict.quiet, sink, asks_tls, only_for)


def _for_anyone(rules: Iterable[Rule]) -> Iterator[Rule]:
    """``Scopes.anyone``: what allows somebody, and what denies everybody."""
    for rule in rules:
        if rule.action is Action.ALLOW or rule.scope == EVERYBODY:
            yield replace(rule, scope=EVERYBODY)


class _Index:
    """Rules by what they are about. Finds all that may matter, and some that do not."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._names: dict[str, list[int]] = {}
        self._networks: dict[IPNetwork, list[int]] = {}
        for number, rule in enumerate(rules):
            if isinstance(rule.place, NamePlace):
                self._names.setdefault(rule.place.name, []).append(number)
            else:
                network = plain_network(rule.place.network)
                self._networks.setdefault(network, []).append(number)
        self._lengths = {(network.version, network.prefixlen) for network in self._networks}

    def about(self, flow: Flow) -> tuple[Rule, ...]:
        """Return the rules that may be about ``flow``, in the order in which they were written."""
        names = (*flow.names, flow.shown)
        numbers = {number for name in names for number in self._for_name(name)}
        address = to_address(flow.ip)
        if address is not None:
            numbers.update(self._for_address(address))
        return tuple(self._rules[number] for number in sorted(numbers))

    def _for_name(self, name: str) -> Iterator[int]:
        """Rules for ``name`` and for every name above it."""
        while name:
            yield from self._names.get(name, ())
            name = name.partition(".")[2]

    def _for_address(self, address: IPAddress) -> Iterator[int]:
        for version, length in self._lengths:
            if version == address.version:
                network = ip_network(f"{address}/{length}", strict=False)
                yield from self._networks.get(network, ())


def comparable(reason: Reason) -> bool:
    """Whether a verdict for this reason must agree with the reference."""
    return reason in _BY_RULES


__all__ = ["Judge", "Opinion", "comparable"]
