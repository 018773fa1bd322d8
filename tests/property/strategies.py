# SPDX-License-Identifier: MIT
"""Policies and flows from an alphabet so small that they keep meeting each other."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from leakstop.model.flow import Flow, Stream, Transport, Who
from leakstop.model.verdict import Action, Mode, RuleRef
from leakstop.policy.rules import (
    AddressPlace,
    Home,
    IPNetwork,
    NamePlace,
    Place,
    Policy,
    PortRange,
    Protocol,
    Reach,
    Rule,
)
from leakstop.policy.scopes import EVERYBODY, Scope

# "ab" and "b" look alike to code that forgets the dot between labels.
LABELS = ("a", "b", "ab")
SECRETS = ("ONE", "TWO", "THREE")

names = st.lists(st.sampled_from(LABELS), min_size=1, max_size=4).map(".".join)
name_places = st.builds(NamePlace, names, st.sampled_from(Reach))

_BASES = (
    int(IPv4Address("192.0.2.0")),
    int(IPv4Address("192.0.2.129")),
    int(IPv4Address("198.51.100.7")),
    int(IPv4Address("127.0.0.1")),
)
_WIDE_BASES = (
    int(IPv6Address("2001:db8::")),
    int(IPv6Address("2001:db8:0:8000::1")),
    int(IPv6Address("::1")),
    int(IPv6Address("::ffff:192.0.2.129")),
)
_near = st.integers(0, 3)
ipv4 = st.builds(lambda base, near: IPv4Address(base + near), st.sampled_from(_BASES), _near)
ipv6 = st.builds(lambda base, near: IPv6Address(base + near), st.sampled_from(_WIDE_BASES), _near)
addresses = ipv4 | ipv6

_ipv4_networks = st.builds(
    lambda address, length: IPv4Network((int(address), length), strict=False),
    ipv4,
    st.sampled_from((0, 8, 24, 25, 30, 31, 32)),
)
_ipv6_networks = st.builds(
    lambda address, length: IPv6Network((int(address), length), strict=False),
    ipv6,
    st.sampled_from((0, 32, 48, 64, 90, 96, 120, 127, 128)),
)
networks: st.SearchStrategy[IPNetwork] = _ipv4_networks | _ipv6_networks
places: st.SearchStrategy[Place] = name_places | networks.map(AddressPlace)

_PORTS = (1, 53, 80, 443, 444, 8000, 8443, 65535)
port_ranges = st.tuples(st.sampled_from(_PORTS), st.sampled_from(_PORTS)).map(
    lambda pair: PortRange(min(pair), max(pair))
)
ports = st.sampled_from((0, *_PORTS)) | st.integers(1, 65535)


def _some(*texts: str) -> st.SearchStrategy[tuple[str, ...]]:
    """None of them more often than any."""
    few = st.lists(st.sampled_from(texts), min_size=1, max_size=2, unique=True).map(tuple)
    return st.just(()) | st.just(()) | few


scopes = st.just(EVERYBODY) | st.one_of(
    st.builds(
        Scope,
        _some("Publish", "Pub*", "Build [x]", "Build ?x?", "*", "publish-step", "acme/publish"),
        _some("/usr/bin/curl", "curl", "/opt/curl", "node"),
        _some("alpine", "alpine:*", "*", "d?"),
    ),
    st.just(Scope(runner=True)),
)
_CONTAINERS: tuple[tuple[str, ...] | None, ...] = (None, (), ("alpine:3", "db"), ("alpine",))
_STEPS: tuple[tuple[str, ...] | None, ...] = (
    None,
    (),
    ("Publish", "publish-step", "acme/publish"),
    ("Publish",),
    ("Build [x]", "build"),
    ("Build x",),
)
whos = st.builds(
    Who,
    st.sampled_from(_STEPS),
    st.sampled_from(("", "/", "/usr/bin/curl", "/opt/curl", "/usr/bin/node")),
    st.sampled_from(_CONTAINERS),
) | st.just(Who(runner=True))


def rules(
    action: Action, protocols: tuple[Protocol, ...] = tuple(Protocol)
) -> st.SearchStrategy[Rule]:
    """Rules of one action; those without ports are without."""

    def build(
        place: Place, protocol: Protocol, ranges: list[PortRange], quiet: bool, scope: Scope
    ) -> Rule:
        ported = protocol not in (Protocol.ICMP, Protocol.DNS, Protocol.ANY)
        text = f"{protocol.value}://{place}"
        return Rule(
            action,
            place,
            protocol,
            tuple(ranges) if ported else (),
            RuleRef(text, "policy.yml", 1),
            quiet and action is Action.DENY,
            scope=scope,
        )

    ranges = st.lists(port_ranges, min_size=1, max_size=3)
    return st.builds(build, places, st.sampled_from(protocols), ranges, st.booleans(), scopes)


def _for_everybody(rule: Rule) -> Rule:
    return replace(rule, scope=EVERYBODY)


_NARROW = tuple(protocol for protocol in Protocol if protocol is not Protocol.ANY)
allows = rules(Action.ALLOW, _NARROW)
denies = rules(Action.DENY)
homes = st.lists(allows, max_size=4).map(
    lambda rules: Home(nowhere=not rules, rules=tuple(rules), text=("as written",))
)
policies = st.builds(
    Policy,
    mode=st.sampled_from(Mode),
    rules=st.lists(allows | allows | denies, max_size=10).map(tuple),
    homes=st.dictionaries(st.sampled_from(SECRETS), homes, max_size=3),
    sinks=st.lists(rules(Action.DENY).map(_for_everybody), max_size=3).map(tuple),
)
local_networks = st.lists(
    st.sampled_from(
        (
            IPv4Network("192.0.2.128/30"),
            IPv4Network("198.51.100.0/24"),
            IPv6Network("2001:db8:0:8000::/64"),
            IPv6Network("::ffff:192.0.2.0/127"),
        )
    ),
    max_size=1,
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A question for a name, or a try to reach an address that names may have led to."""
    transport, who = draw(st.sampled_from(Transport)), draw(whos)
    if transport is Transport.DNS:
        return Flow(transport, names=(draw(names),), who=who)
    led = tuple(draw(st.lists(names, max_size=3, unique=True)))
    ip = draw(addresses.map(str) | addresses.map(str) | st.just(""))
    port = draw(ports) if transport in (Transport.TCP, Transport.UDP) else 0
    return Flow(transport, port, ip, led, who=who)


@st.composite
def flows_near(draw: st.DrawFn, policy: Policy) -> Flow:
    """Flows that a rule of ``policy`` meets, or misses by a label, an address or a port."""
    written = [*policy.rules, *policy.sinks]
    written += [rule for home in policy.homes.values() for rule in home.rules]
    if not written or draw(st.integers(0, 9)) == 0:
        return draw(flows())
    rule = draw(st.sampled_from(written))
    other = draw(st.sampled_from(written))
    usual = _TRANSPORT[rule.protocol]
    transport = draw(st.sampled_from((usual, usual, usual, *Transport)))
    led = [_near_name(draw, each.place) for each in (rule, other)]
    found = [name for name in led if name] or [draw(names)]
    who = draw(whos)
    if transport is Transport.DNS:
        return Flow(transport, names=(found[0],), who=who)
    port = 0
    if transport in (Transport.TCP, Transport.UDP):
        edges = [edge for ports in rule.ports for edge in (ports.first, ports.last)]
        port = draw(st.sampled_from(edges or [443])) + draw(st.sampled_from((0, 0, 0, -1, 1)))
    ip = ""
    if isinstance(rule.place, AddressPlace):
        network = rule.place.network
        edge = int(draw(st.sampled_from((network[0], network[-1]))))
        edge += draw(st.sampled_from((0, 0, 0, -1, 1)))
        kind = IPv4Address if network.version == 4 else IPv6Address
        ip = str(kind(edge % (1 << network.max_prefixlen)))
    elif draw(st.booleans()):
        ip = str(draw(addresses))
    flow = Flow(transport, port % 65536, ip, tuple(dict.fromkeys(found)), who=who)
    return flow if transport is not Transport.TCP or draw(st.booleans()) else draw(shown(flow))


@st.composite
def shown(draw: st.DrawFn, flow: Flow) -> Flow:
    """``flow`` after its first bytes: what it is, and often a name."""
    stream = draw(st.sampled_from(Stream))
    if stream in (Stream.UNSEEN, Stream.OTHER):
        return replace(flow, stream=stream)
    name = draw(st.sampled_from(flow.names or ("a",)) | names | st.just(""))
    return replace(flow, stream=stream, shown=name)


def _near_name(draw: st.DrawFn, place: Place) -> str:
    """A name that ``place`` covers or just misses; empty if it is an address."""
    if isinstance(place, AddressPlace):
        return ""
    below = {Reach.EXACT: "", Reach.ONE: "b.", Reach.DEEP: "a.b."}[place.reach]
    miss = draw(st.sampled_from(("", "", "", "a.", "ab", "parent", "itself")))
    if miss == "parent":
        return place.name.partition(".")[2] or place.name
    return place.name if miss == "itself" else miss + below + place.name


_TRANSPORT = {
    Protocol.TLS: Transport.TCP,
    Protocol.HTTP: Transport.TCP,
    Protocol.STREAM: Transport.TCP,
    Protocol.TCP: Transport.TCP,
    Protocol.UDP: Transport.UDP,
    Protocol.DNS: Transport.DNS,
    Protocol.ICMP: Transport.ICMP,
    Protocol.ANY: Transport.TCP,
}


@st.composite
def situations(draw: st.DrawFn) -> tuple[Policy, Flow]:
    """A policy, and a flow that is somehow about it."""
    policy = draw(policies)
    return policy, draw(flows_near(policy))


__all__ = [
    "SECRETS",
    "addresses",
    "allows",
    "denies",
    "flows",
    "flows_near",
    "homes",
    "local_networks",
    "name_places",
    "names",
    "networks",
    "places",
    "policies",
    "port_ranges",
    "ports",
    "rules",
    "scopes",
    "shown",
    "situations",
    "whos",
]
