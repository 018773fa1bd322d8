# SPDX-License-Identifier: MIT
"""Short ways to write rules and flows in tests of what they mean, past the parser."""

from __future__ import annotations

from ipaddress import ip_network

from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import (
    AddressPlace,
    Home,
    NamePlace,
    Place,
    PortRange,
    Protocol,
    Reach,
    Rule,
)

HTTPS = (443, 443)


def place(text: str) -> Place:
    """``a.test``, ``*.test``, ``**.test``, an address or a network."""
    if text.startswith("**."):
        return NamePlace(text[3:], Reach.DEEP)
    if text.startswith("*."):
        return NamePlace(text[2:], Reach.ONE)
    try:
        return AddressPlace(ip_network(text))
    except ValueError:
        return NamePlace(text)


def allow(
    text: str, *ports: tuple[int, int], protocol: Protocol = Protocol.TLS, line: int = 0
) -> Rule:
    """An allow; TCP 443 unless it says otherwise."""
    portless = protocol in (Protocol.ICMP, Protocol.DNS)
    written = () if portless else ports or (HTTPS,)
    ref = RuleRef(text, "policy.yml", line)
    return Rule(Action.ALLOW, place(text), protocol, _ranges(written), ref)


def deny(
    text: str,
    *ports: tuple[int, int],
    protocol: Protocol = Protocol.ANY,
    quiet: bool = False,
    line: int = 0,
) -> Rule:
    """A deny; of everything unless it says otherwise."""
    ref = RuleRef(text, "policy.yml", line)
    return Rule(Action.DENY, place(text), protocol, _ranges(ports), ref, quiet)


def home(*rules: Rule) -> Home:
    """A home at these rules; nowhere without one."""
    text = tuple(rule.ref.text for rule in rules) or ("nowhere",)
    return Home(nowhere=not rules, rules=rules, text=text)


def tcp(target: str, port: int = 443, *names: str) -> Flow:
    """A TCP connection to a name, or to an address that ``names`` led to."""
    return _flow(Transport.TCP, target, port, names)


def udp(target: str, port: int, *names: str) -> Flow:
    """A datagram."""
    return _flow(Transport.UDP, target, port, names)


def icmp(target: str) -> Flow:
    """An echo request."""
    return _flow(Transport.ICMP, target, 0, ())


def other(target: str) -> Flow:
    """Something of another IP protocol."""
    return _flow(Transport.OTHER, target, 0, ())


def lookup(name: str) -> Flow:
    """A question for a name."""
    return Flow(Transport.DNS, names=(name,))


def _ranges(ports: tuple[tuple[int, int], ...]) -> tuple[PortRange, ...]:
    return tuple(PortRange(first, last) for first, last in ports)


def _flow(transport: Transport, target: str, port: int, names: tuple[str, ...]) -> Flow:
    if isinstance(place(target), AddressPlace):
        return Flow(transport, port, target, names)
    return Flow(transport, port, "", (target, *names))
