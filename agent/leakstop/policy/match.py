# SPDX-License-Identifier: MIT
"""What a policy means. ``decide`` is the reference; the kernel's tables are a compilation of it.

The order is the whole semantics: a deny that matches, then an allow that matches, then the
mode. No priority, no first match, no negation. Written to be read; ``tables`` is the fast
form of the same thing, and a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Union

from leakstop.model.flow import Flow, Stream, Transport
from leakstop.model.verdict import Action, Mode, Reason, Verdict
from leakstop.policy.rules import (
    AddressPlace,
    IPNetwork,
    NamePlace,
    Place,
    Policy,
    Protocol,
    Reach,
    Rule,
    tidy,
)
from leakstop.policy.scopes import EVERYBODY

IPAddress = Union[IPv4Address, IPv6Address]

LOOPBACK: tuple[IPNetwork, ...] = (
    IPv4Network("127.0.0.0/8"),
    IPv6Network("::1/128"),
    # Linux takes a connect to the unspecified address as one to itself: `curl 0.0.0.0:8000`.
    IPv4Network("0.0.0.0/32"),
    IPv6Network("::/128"),
)
"""Addresses that are this machine on every machine."""

TCP_PROTOCOLS = frozenset({Protocol.TLS, Protocol.HTTP, Protocol.STREAM, Protocol.TCP})

ACCEPTS: Mapping[Stream, frozenset[Protocol]] = {
    Stream.TLS: frozenset({Protocol.TLS, Protocol.STREAM}),
    Stream.HTTP: frozenset({Protocol.HTTP, Protocol.STREAM}),
    Stream.HIDDEN: frozenset(),
    Stream.OTHER: frozenset({Protocol.STREAM}),
}
"""By what a stream shows of itself, the rules for a name that it satisfies. One for an address,
and one that asks for no name, is satisfied by anything."""

_MAPPED_BITS = 96


def decide(policy: Policy, flow: Flow, *, local: Sequence[IPNetwork] = ()) -> Verdict:
    """Judge one flow.

    ``local`` are the networks that do not leave this machine, besides loopback. A local
    address is allowed unless a deny rule names that *address*: whoever answers for a name
    could otherwise close a port of this machine by resolving the name to it (resolvers that
    sink advertising answer with 127.0.0.1 or 0.0.0.0).

    Raises:
        ValueError: ``flow.ip`` is neither empty nor an address.
    """
    return judge(policy, flow, local=local)[0]


def judge(
    policy: Policy, flow: Flow, *, local: Sequence[IPNetwork] = ()
) -> tuple[Verdict, Rule | None]:
    """Judge one flow as ``decide`` does, and hand out the whole rule that decided."""
    stays = _stays(flow, local)
    if stays:
        flow = replace(flow, names=(), stream=Stream.UNSEEN, shown="")
    denies = (rule for rule in policy.rules if rule.action is Action.DENY)
    denied = _narrowest(_matching(denies, _claiming(flow), denies=True))
    if denied is not None:
        verdict = Verdict(Action.DENY, Action.DENY, Reason.DENY_RULE, denied.ref, denied.quiet)
        return verdict, denied
    if stays:
        return Verdict(Action.ALLOW, Action.ALLOW, Reason.LOCAL), None
    allows = (rule for rule in policy.rules if rule.action is Action.ALLOW)
    allowed = reaches(allows, flow)
    if allowed is not None:
        return Verdict(Action.ALLOW, Action.ALLOW, Reason.ALLOW_RULE, allowed.ref), allowed
    applied = Action.ALLOW if policy.mode is Mode.AUDIT else Action.DENY
    return Verdict(Action.DENY, applied, _why_not(policy, flow)), None


def reaches(rules: Iterable[Rule], flow: Flow) -> Rule | None:
    """Find the narrowest of ``rules`` (allows, or a home) that reaches ``flow``.

    An address is no identity, since thousands of sites share one. So once a TCP stream has shown
    what it is, a rule for a name reaches it only if the stream is what that rule accepts; and
    if it shows a name, a rule with the same protocol, ports and scope must be about that name,
    too.
    """
    matching = tuple(_matching(rules := tuple(rules), flow, denies=False))
    if flow.stream is Stream.UNSEEN:
        return _narrowest(matching)
    trusting = [rule for rule in matching if _trusts(rule)]
    accepts = ACCEPTS[flow.stream] if flow.shown else ACCEPTS[flow.stream] & {Protocol.STREAM}
    leading = [rule for rule in matching if rule.protocol in accepts]
    if trusting or not leading or not flow.shown:
        return _narrowest(trusting or leading)
    channels = set(map(_channel, leading))
    named = _matching(rules, replace(flow, ip="", names=(flow.shown,)), denies=False)
    return _narrowest(rule for rule in named if _channel(rule) in channels)


def for_others(rules: Iterable[Rule], flow: Flow) -> Rule | None:
    """Find the narrowest scoped one of ``rules`` (allows, or a home) that would reach ``flow``,
    were it somebody else's. What the runner alone may is no policy's word about others."""
    scoped = (rule for rule in rules if rule.scope != EVERYBODY and not rule.scope.runner)
    freed = {replace(rule, scope=EVERYBODY): rule for rule in scoped if rule.action is Action.ALLOW}
    found = reaches(freed, flow)
    return None if found is None else freed[found]


def at_home(policy: Policy, secret: str, flow: Flow) -> bool:
    """Whether ``secret`` belongs where ``flow`` goes; never true of an unplaced secret.

    A question for the name of a home is at home too: it is how one gets there.
    """
    home = policy.homes.get(secret)
    return home is not None and not home.nowhere and reaches(home.rules, flow) is not None


def is_sink(policy: Policy, flow: Flow) -> bool:
    """Whether ``flow`` goes to a place where anyone can store data.

    A name that the policy allows exactly is somebody's own place there, so none of these.
    """
    owned = own_names(policy)
    flow = _claiming(flow)
    strange = tuple(name for name in flow.names if name not in owned)
    if flow.transport is Transport.DNS and not strange:
        return False
    return any(_matching(policy.sinks, replace(flow, names=strange), denies=False))


def own_names(policy: Policy) -> frozenset[str]:
    """The names that a rule allows exactly."""
    return frozenset(
        rule.place.name
        for rule in policy.rules
        if rule.action is Action.ALLOW
        and isinstance(rule.place, NamePlace)
        and rule.place.reach is Reach.EXACT
    )


def to_address(text: str) -> IPAddress | None:
    """Read an address; v4-mapped IPv6 is the IPv4 address that it reaches. Empty text is none.

    Raises:
        ValueError: ``text`` is no address.
    """
    if not text:
        return None
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def plain_network(network: IPNetwork) -> IPNetwork:
    """Write a network of v4-mapped addresses as the IPv4 network that it is."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((int(mapped), network.prefixlen - _MAPPED_BITS))
    return network


def covers(place: Place, names: Iterable[str], address: IPAddress | None) -> bool:
    """Whether ``place`` means one of these names, or this address."""
    if isinstance(place, NamePlace):
        return any(map(place.covers, names))
    return address is not None and address in plain_network(place.network)


def speaks(rule: Rule, flow: Flow, *, denies: bool) -> bool:
    """Whether ``flow`` speaks what ``rule`` is about, wherever it goes.

    A name may be looked up if a rule names it for anything at all, since every use begins
    with the lookup. It may not be if a deny leaves nothing else to do with it.
    """
    if rule.protocol is Protocol.ANY:
        return True
    if flow.transport is Transport.DNS:
        return not denies or rule.protocol is Protocol.DNS
    if flow.transport is Transport.TCP:
        return rule.protocol in TCP_PROTOCOLS and _on_port(rule, flow.port)
    if flow.transport is Transport.UDP:
        return rule.protocol is Protocol.UDP and _on_port(rule, flow.port)
    return flow.transport is Transport.ICMP and rule.protocol is Protocol.ICMP


def _matching(rules: Iterable[Rule], flow: Flow, *, denies: bool) -> Iterator[Rule]:
    question = flow.transport is Transport.DNS
    names = flow.names[:1] if question else flow.names
    address = None if question else to_address(flow.ip)
    for rule in rules:
        if (
            speaks(rule, flow, denies=denies)
            and covers(rule.place, names, address)
            and rule.scope.covers(flow.who, unknown=denies)
        ):
            yield rule


def _claiming(flow: Flow) -> Flow:
    """``flow`` with the name that it shows among its names: a deny, or a sink, believes it."""
    return replace(flow, names=(*flow.names, flow.shown)) if flow.shown else flow


def _channel(rule: Rule) -> tuple[object, ...]:
    """What rules for two names on one connection have in common."""
    return rule.protocol, tidy(rule.ports), rule.scope


def _trusts(rule: Rule) -> bool:
    """Whether ``rule`` is satisfied by whatever is spoken."""
    return isinstance(rule.place, AddressPlace) or rule.protocol is Protocol.TCP


def _why_not(policy: Policy, flow: Flow) -> Reason:
    """Say why no rule allows ``flow``: nothing names it, or it is not what it should be."""
    if flow.transport is Transport.OTHER:
        return Reason.PROTOCOL  # no rule of an allow list can ask for it
    if flow.stream is Stream.UNSEEN:
        return Reason.NOT_NAMED
    allows = [rule for rule in policy.rules if rule.action is Action.ALLOW]
    believed = flow.shown and flow.stream is not Stream.HIDDEN
    asked = replace(flow, stream=Stream.UNSEEN, shown="")
    places = (asked, replace(asked, ip="", names=(flow.shown,))) if believed else (asked,)
    named = all(reaches(allows, place) for place in places)
    return Reason.IDENTITY if named else Reason.NOT_NAMED


def _on_port(rule: Rule, port: int) -> bool:
    return any(port in ports for ports in rule.ports)


def _stays(flow: Flow, local: Sequence[IPNetwork]) -> bool:
    address = None if flow.transport is Transport.DNS else to_address(flow.ip)
    if address is None:
        return False
    return any(address in plain_network(network) for network in (*LOOPBACK, *local))


def _narrowest(rules: Iterable[Rule]) -> Rule | None:
    """The rule to name: the narrowest place, ports and scope, then a loud one, then the first
    that was written."""
    return min(rules, key=_width, default=None)


def _width(rule: Rule) -> tuple[int, ...]:
    place = rule.place
    if isinstance(place, NamePlace):
        kinds = {Reach.EXACT: 0, Reach.ONE: 2, Reach.DEEP: 3}
        reach = (kinds[place.reach], -place.name.count("."))
    else:
        network = plain_network(place.network)
        reach = (1, network.max_prefixlen - network.prefixlen)
    ports = sum(ports.last - ports.first + 1 for ports in rule.ports)
    return (*reach, rule.protocol is Protocol.ANY, ports, rule.scope == EVERYBODY, rule.quiet)


__all__ = [
    "ACCEPTS",
    "LOOPBACK",
    "TCP_PROTOCOLS",
    "IPAddress",
    "at_home",
    "covers",
    "decide",
    "for_others",
    "is_sink",
    "judge",
    "plain_network",
    "reaches",
    "speaks",
    "to_address",
]
