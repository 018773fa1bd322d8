# SPDX-License-Identifier: MIT
"""A policy compiled to what the kernel looks up: three tables of bit vectors.

Each *condition*, a kind of rule with its protocol and ports, is one bit of 256. Names,
networks and ports map to vectors of them, and the AND of two vectors is the answer, at the
same cost for ten hosts and for ten thousand. ``Tables.decide`` does what the kernel does,
step by step; ``match.decide`` is what it must come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from ipaddress import IPv6Network, ip_network

from leakstop.model.flow import Flow, Stream, Transport
from leakstop.model.verdict import Action, Reason
from leakstop.policy.budgets import Budget, budgets
from leakstop.policy.bulk import uncollected
from leakstop.policy.closure import NameNode, NetworkNode, Places, cut_ports, network_key
from leakstop.policy.conditions import LIMIT, Condition, Conditions, Kind, by_condition
from leakstop.policy.match import (
    ACCEPTS,
    LOOPBACK,
    TCP_PROTOCOLS,
    own_names,
    plain_network,
    to_address,
)
from leakstop.policy.rules import (
    AddressPlace,
    Home,
    IPNetwork,
    Policy,
    Protocol,
    Rule,
)
from leakstop.policy.scopes import EVERYBODY, Scopes
from leakstop.policy.special import special_networks

PortKey = tuple[int, int, int]
"""Protocol number (``Proto``), first port of the prefix, prefix length 0 to 16."""

DNS_PORT = 53
_NOWHERE = NetworkNode(vector=0, local=False)
_NAMELESS = NameNode(deep=0, one=0)


class Proto(IntEnum):
    """First part of a key of ``Tables.ports``."""

    DNS = 0
    """A question. As an IP protocol 0 is an extension header, so the number is free."""
    ICMP = 1
    """ICMPv6 too."""
    TCP = 6
    UDP = 17
    OTHER = 255
    """Any other IP protocol; 255 itself is reserved (RFC 5237)."""


PROTO: Mapping[Transport, Proto] = {
    Transport.DNS: Proto.DNS,
    Transport.ICMP: Proto.ICMP,
    Transport.TCP: Proto.TCP,
    Transport.UDP: Proto.UDP,
    Transport.OTHER: Proto.OTHER,
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The compiled policy. A look-up returns the longest prefix, and that alone."""

    names: Mapping[bytes, NameNode]
    """By the name's bytes reversed; an exact name ends with NUL, the names below one with a dot."""
    networks: Mapping[IPv6Network, NetworkNode]
    """IPv4 stands under ``::ffff:0:0/96``."""
    ports: Mapping[PortKey, int]
    """No two prefixes of a protocol overlap; a port that is missing has no condition."""
    allow: int
    """Mask of the conditions that allow."""
    deny: int
    """Mask of the conditions that deny."""
    sink: int
    """Mask of the conditions of sinks."""
    accepts: Mapping[Stream, int]
    """Masks of the conditions that each kind of stream satisfies if the name fits."""
    homes: Mapping[str, int]
    """Mask of the conditions of each placed secret's home; 0 is nowhere."""
    format_homes: Mapping[str, int]
    """The same of ``Policy.format_homes``."""
    conditions: tuple[Condition, ...]
    """What the bits stand for, lowest first."""
    scopes: Scopes
    """Which of them a process meets by who it is."""
    resolvers: tuple[str, ...]
    """Addresses that the policy allows on UDP port 53: what they answer is believed."""
    budgets: tuple[Budget, ...]
    """Nodes of names have the number of theirs plus one."""

    def lookup_name(self, name: str) -> int:
        """Look up the conditions of a name."""
        node, single = self.find_name(name)
        return node.deep | node.one if single else node.deep

    def find_name(self, name: str) -> tuple[NameNode, bool]:
        """Find the node of a name, and whether at most one label is left.

        Whoever builds the key from a packet must refuse empty labels and labels with a dot
        or a NUL in them first: such a name would be read as another one.
        """
        key = name[::-1].encode(errors="surrogateescape") + b"\0"
        for length in range(len(key), 0, -1):
            node = self.names.get(key[:length])
            if node is not None:
                return node, b"." not in key[length:-1]
        return _NAMELESS, True

    def lookup_address(self, ip: str) -> NetworkNode:
        """Look up an address; empty text has no conditions."""
        address = to_address(ip)
        if address is None:
            return _NOWHERE
        value, width = network_key(ip_network(address))
        for length in range(width, -1, -1):
            shift = width - length
            node = self.networks.get(IPv6Network((value >> shift << shift, length)))
            if node is not None:
                return node
        return _NOWHERE

    def lookup_port(self, proto: int, port: int) -> int:
        """Look up a protocol and port; the port is 0 where the protocol has none."""
        for length in range(16, -1, -1):
            shift = 16 - length
            vector = self.ports.get((proto, port >> shift << shift, length))
            if vector is not None:
                return vector
        return 0

    def held(self, flow: Flow) -> int:
        """Tell which conditions of allows and homes hold of ``flow``, on this machine or off it.

        Of a stream that has shown what it is those of its address, those that ask for no name,
        and those that both the names that led there and the shown one meet.
        """
        names, node, ports = self._look_up(flow)
        if flow.stream is Stream.UNSEEN:
            return (names | node.vector) & ports
        asking = self.accepts[Stream.TLS] | self.accepts[Stream.HTTP]
        accepted = names & self.accepts[flow.stream]
        accepted &= self.lookup_name(flow.shown) if flow.shown else self.accepts[Stream.OTHER]
        return (node.vector | names & ~asking | accepted) & ports

    def claimed(self, flow: Flow) -> int:
        """Tell which conditions of denies and sinks hold: they believe every name."""
        names, node, ports = self._look_up(flow)
        return (names | node.vector | self._shown(flow)) & ports

    def decide(self, flow: Flow) -> tuple[Action, Reason]:
        """Judge ``flow``: what the rules say of it, before the mode."""
        node = self._look_up(flow)[1]
        if node.local:
            # What a name resolves to must not close a port of this machine (match.decide).
            flow = replace(flow, names=(), stream=Stream.UNSEEN, shown="")
        if self.claimed(flow) & self.deny:
            return Action.DENY, Reason.DENY_RULE
        if node.local:
            return Action.ALLOW, Reason.LOCAL
        if self.held(flow) & self.allow:
            return Action.ALLOW, Reason.ALLOW_RULE
        return Action.DENY, self._why_not(flow)

    def at_home(self, secret: str, flow: Flow) -> bool:
        """Whether ``secret`` belongs where ``flow`` goes; never true of an unplaced secret."""
        return bool(self.held(flow) & self.homes.get(secret, 0))

    def is_sink(self, flow: Flow) -> bool:
        """Whether ``flow`` goes to a place where anyone can store data."""
        return bool(self.claimed(flow) & self.sink)

    def _shown(self, flow: Flow) -> int:
        return self.lookup_name(flow.shown) if flow.shown else 0

    def _why_not(self, flow: Flow) -> Reason:
        if flow.transport is Transport.OTHER:
            return Reason.PROTOCOL
        names, node, ports = self._look_up(flow)
        led = (names | node.vector) & ports & self.allow
        believed = flow.shown and flow.stream is not Stream.HIDDEN
        named = not believed or self._shown(flow) & ports & self.allow
        seen = flow.stream is not Stream.UNSEEN
        return Reason.IDENTITY if seen and led and named else Reason.NOT_NAMED

    def _look_up(self, flow: Flow) -> tuple[int, NetworkNode, int]:
        question = flow.transport is Transport.DNS
        names = 0
        for name in flow.names[:1] if question else flow.names:
            names |= self.lookup_name(name)
        node = _NOWHERE if question else self.lookup_address(flow.ip)
        port = flow.port if flow.transport in (Transport.TCP, Transport.UDP) else 0
        met = self.lookup_port(PROTO[flow.transport], port) & self.scopes.of(flow.who)
        return names, node, met


@uncollected
def compile_tables(policy: Policy, *, local: Sequence[IPNetwork] = ()) -> Tables:
    """Compile ``policy``.

    ``local`` are the networks, besides loopback, that do not leave this machine.

    Raises:
        PolicyError: the policy has more than 256 distinct conditions.
    """
    conditions, places = Conditions(), Places()
    for rule in policy.rules:
        places.add(rule.place, conditions.of_rule(Kind(rule.action.value), rule))
    for rule in policy.sinks:
        places.add(rule.place, conditions.of_rule(Kind.SINK, rule))
    homes = {secret: _add_home(home, conditions, places) for secret, home in policy.homes.items()}
    # Nobody wrote them, so no policy is refused because of them: a secret that is found has no
    # home where there is no room for it.
    format_homes = {
        words: _add_home(home, conditions, places)
        for words, home in policy.format_homes.items()
        if conditions.room >= len(by_condition(home))
    }
    for network in (*LOOPBACK, *local):
        places.add_local(network)
    for network, belief in special_networks():
        places.add_belief(network, belief)
    found = conditions.all()
    rationed, sink = budgets(policy.rules), _mask(found, Kind.SINK)
    networks = places.networks(trusted=_mask(found, Kind.ALLOW))
    tables = Tables(
        names=places.names(own=own_names(policy), sink=sink, budgets=rationed),
        networks={IPv6Network(key): node for key, node in networks.items()},
        ports=_port_table(found),
        allow=_mask(found, Kind.ALLOW),
        deny=_mask(found, Kind.DENY),
        sink=sink,
        accepts={
            stream: sum(
                1 << bit for bit, condition in enumerate(found) if condition.protocol in protocols
            )
            for stream, protocols in ACCEPTS.items()
        },
        homes=homes,
        format_homes=format_homes,
        conditions=found,
        scopes=Scopes(tuple((each.scope, each.kind is Kind.DENY) for each in found)),
        resolvers=(),
        budgets=rationed,
    )
    closed = tables.lookup_port(Proto.UDP, DNS_PORT) & tables.deny
    teachers = (
        str(place)
        for place in _teachers(policy.rules)
        if not networks[network_key(place.network)].vector & closed
    )
    return replace(tables, resolvers=tuple(dict.fromkeys(teachers)))


def vector_bytes(vector: int) -> bytes:
    """Write a vector as the kernel holds it: four little-endian words of 64 bits."""
    return vector.to_bytes(LIMIT // 8, "little")


def _add_home(home: Home, conditions: Conditions, places: Places) -> int:
    """Give a home its conditions, one for each set of ports in it, and return their mask."""
    mask = 0
    for rules in by_condition(home).values():
        bit, new = conditions.of_home(rules[0], frozenset(rule.place for rule in rules))
        mask |= bit
        for rule in rules if new else ():
            places.add(rule.place, bit)
    return mask


def _mask(conditions: Iterable[Condition], kind: Kind) -> int:
    return sum(1 << index for index, found in enumerate(conditions) if found.kind is kind)


def _port_table(conditions: Sequence[Condition]) -> dict[PortKey, int]:
    """Say for each protocol and port which conditions it can meet."""
    bits = [(condition, 1 << index) for index, condition in enumerate(conditions)]

    def those(*protocols: Protocol) -> int:
        return sum(bit for condition, bit in bits if condition.protocol in protocols)

    # Every use of a name begins with its lookup, so whatever allows any use of it allows that.
    # A deny of some ports leaves the others, so the lookup too.
    lookups = sum(bit for condition, bit in bits if condition.kind is not Kind.DENY)
    table: dict[PortKey, int] = {
        (Proto.DNS, 0, 0): lookups | those(Protocol.ANY, Protocol.DNS),
        (Proto.ICMP, 0, 0): those(Protocol.ANY, Protocol.ICMP),
        (Proto.OTHER, 0, 0): those(Protocol.ANY),
    }
    for proto, protocols in ((Proto.TCP, TCP_PROTOCOLS), (Proto.UDP, {Protocol.UDP})):
        ranges = [
            (ports, bit)
            for condition, bit in bits
            if condition.protocol in protocols
            for ports in condition.ports
        ]
        for first, length, vector in cut_ports(ranges, always=those(Protocol.ANY)):
            table[proto, first, length] = vector
    return {key: vector for key, vector in table.items() if vector}


def _teachers(rules: Iterable[Rule]) -> Iterator[AddressPlace]:
    """The single addresses that a rule allows on port 53: that is how a resolver is declared.

    What it answers is believed for everybody, so it is one for everybody or none.
    """
    for rule in rules:
        place = rule.place
        if (
            rule.action is Action.ALLOW
            and rule.scope == EVERYBODY
            and rule.protocol is Protocol.UDP
            and any(DNS_PORT in ports for ports in rule.ports)
            and isinstance(place, AddressPlace)
            and place.network.prefixlen == place.network.max_prefixlen
        ):
            yield AddressPlace(plain_network(place.network))


__all__ = [
    "DNS_PORT",
    "LIMIT",
    "PROTO",
    "Condition",
    "Kind",
    "PortKey",
    "Proto",
    "Tables",
    "compile_tables",
    "vector_bytes",
]
