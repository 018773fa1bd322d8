# SPDX-License-Identifier: MIT
"""What an ``expect`` case asks: one flow for each destination that it names."""

from __future__ import annotations

from collections.abc import Iterable

from leakstop.model.flow import Flow, Transport, Who
from leakstop.policy.entries import CaseText
from leakstop.policy.expect import Case
from leakstop.policy.lookup import Lookup, example
from leakstop.policy.rules import NamePlace, Protocol, Rule
from leakstop.policy.scopes import Scope

_TRANSPORTS = {
    Protocol.UDP: Transport.UDP,
    Protocol.DNS: Transport.DNS,
    Protocol.ICMP: Transport.ICMP,
}


_ANYBODY = Who()


def build_cases(written: Iterable[CaseText], lookup: Lookup) -> tuple[Case, ...]:
    """Look the words up. A word of several hosts asks for each of them, a pattern for one
    name that it covers.

    Raises:
        PolicyError: a package manager's answer is missing.
    """
    return tuple(
        Case(case.kind, sample(rule, who_of(case.scope)), case.secret, case.text, case.ref)
        for case in written
        for rule in lookup.rules(case.entries)
    )


def who_of(scope: Scope) -> Who:
    """Somebody who is what ``scope`` says, and nothing else: outside of it in all the rest."""
    program = scope.process[0] if scope.process else Who().process
    return Who(scope.step, program, scope.container)


def sample(rule: Rule, who: Who = _ANYBODY) -> Flow:
    """One flow of ``who`` that ``rule`` is about."""
    transport = _TRANSPORTS.get(rule.protocol, Transport.TCP)
    port = rule.ports[0].first if rule.ports else 0
    if isinstance(rule.place, NamePlace):
        return Flow(transport, port, names=(example(rule.place),), who=who)
    network = rule.place.network
    # The first address of a network is its name, not a host.
    index = 0 if network.prefixlen >= network.max_prefixlen - 1 else 1
    return Flow(transport, port, ip=str(network[index]), who=who)


__all__ = ["build_cases", "sample", "who_of"]
