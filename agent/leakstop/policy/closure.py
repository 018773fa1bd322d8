# SPDX-License-Identifier: MIT
"""Tables in which the longest prefix alone is the whole answer.

The kernel's LPM tries return the longest matching prefix and nothing else. So whatever the
shorter prefixes say is compiled into the longer ones here: ``*.b`` and ``**.b`` into
``*.a.b`` and ``a.b``, a network into the networks inside it. Ports are cut into prefixes
that do not overlap at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address

from leakstop.policy.match import plain_network
from leakstop.policy.rules import IPNetwork, NamePlace, Place, PortRange, Reach

_ADDRESS_BITS = 128
_MAPPED = (int(IPv6Address("::ffff:0:0")), 96)
_PORT_BITS = 16

NetworkKey = tuple[int, int]
"""First address in the space of IPv6, and prefix length; IPv4 is ``::ffff:0:0/96``."""


@dataclass(frozen=True, slots=True)
class NameNode:
    """A node of the trie of names. Its bits are ``deep``, and ``one`` if one label is left."""

    deep: int
    """Conditions at any depth below this node; at the node of an exact name all of them."""
    one: int
    """Conditions of the names one label below this node."""


@dataclass(frozen=True, slots=True)
class NetworkNode:
    """A node of the trie of networks."""

    vector: int
    """Conditions of this network and of those around it."""
    local: bool
    """It does not leave this machine."""


class Places:
    """Collects which conditions hold where, and closes the collection over prefixes."""

    def __init__(self) -> None:
        self._names: dict[Reach, dict[str, int]] = {reach: {} for reach in Reach}
        self._networks: dict[NetworkKey, int] = {}
        self._local: set[NetworkKey] = set()

    def add(self, place: Place, bit: int) -> None:
        """Let condition ``bit`` hold at ``place``."""
        if isinstance(place, NamePlace):
            names = self._names[place.reach]
            names[place.name] = names.get(place.name, 0) | bit
        else:
            key = network_key(place.network)
            self._networks[key] = self._networks.get(key, 0) | bit

    def add_local(self, network: IPNetwork) -> None:
        """Note that ``network`` does not leave this machine."""
        self._local.add(network_key(network))

    def names(self) -> dict[bytes, NameNode]:
        """Close the names: by reversed bytes, exact names with NUL, those below one with a dot."""
        exact, one, deep = (self._names[reach] for reach in (Reach.EXACT, Reach.ONE, Reach.DEEP))
        below: dict[str, int] = {"": 0}

        def deep_below(name: str) -> int:
            """The any-depth conditions of names below ``name``: its own and its ancestors'."""
            known = below.get(name)
            if known is None:
                known = below[name] = deep.get(name, 0) | deep_below(name.partition(".")[2])
            return known

        shared: dict[tuple[int, int], NameNode] = {}
        nodes: dict[bytes, NameNode] = {}
        for name in {**one, **deep}:
            bits = (deep_below(name), one.get(name, 0))
            nodes[_reverse(name) + b"."] = shared.setdefault(bits, NameNode(*bits))
        for name, own in exact.items():
            parent = name.partition(".")[2]
            bits = (own | deep_below(parent) | one.get(parent, 0), 0)
            nodes[_reverse(name) + b"\0"] = shared.setdefault(bits, NameNode(*bits))
        return nodes

    def networks(self) -> dict[NetworkKey, NetworkNode]:
        """Close the networks: each has the conditions of those around it too."""
        keys = self._networks.keys() | self._local
        # A rule for `::/0` is about IPv6: a node of its own keeps it away from IPv4.
        if any(length < _MAPPED[1] and _holds((first, length), _MAPPED) for first, length in keys):
            keys = keys | {_MAPPED}
        nodes: dict[NetworkKey, NetworkNode] = {}
        around: list[NetworkKey] = []
        for key in sorted(keys):  # a network comes before those inside it
            while around and not _holds(around[-1], key):
                around.pop()
            vector, local = self._networks.get(key, 0), key in self._local
            if around and key != _MAPPED:
                outer = nodes[around[-1]]
                vector, local = vector | outer.vector, local or outer.local
            nodes[key] = NetworkNode(vector, local)
            around.append(key)
        return nodes


def network_key(network: IPNetwork) -> NetworkKey:
    """Where ``network`` stands in the trie."""
    network = plain_network(network)
    first = int(network.network_address)
    if isinstance(network, IPv4Network):
        return _MAPPED[0] | first, _MAPPED[1] + network.prefixlen
    return first, network.prefixlen


def tidy(ports: Iterable[PortRange]) -> tuple[PortRange, ...]:
    """Sort ranges and join those that touch, so that the same ports compare equal."""
    joined: list[PortRange] = []
    for ports_ in sorted(ports):
        if joined and ports_.first <= joined[-1].last + 1:
            last = max(joined[-1].last, ports_.last)
            joined[-1] = PortRange(joined[-1].first, last)
        else:
            joined.append(ports_)
    return tuple(joined)


def cut_ports(
    ranges: Iterable[tuple[PortRange, int]], always: int
) -> Iterator[tuple[int, int, int]]:
    """Cut ranges with their condition bits into disjoint prefixes ``(first, length, vector)``.

    The ranges of one condition must be disjoint (``tidy``). ``always`` holds on every port.
    """
    # Each edge flips the bits of the ranges that begin or end there.
    edges = {0: always, 1 << _PORT_BITS: always}
    for ports, bit in ranges:
        for edge in (ports.first, ports.last + 1):
            edges[edge] = edges.get(edge, 0) ^ bit
    vector, since = 0, 0
    for edge in sorted(edges):
        if vector and edges[edge]:
            yield from ((first, length, vector) for first, length in _prefixes(since, edge))
        if edges[edge]:
            since = edge
        vector ^= edges[edge]


def _prefixes(first: int, end: int) -> Iterator[tuple[int, int]]:
    """The fewest aligned blocks that make up ``first`` to ``end - 1``."""
    while first < end:
        size = first & -first or 1 << _PORT_BITS
        while size > end - first:
            size >>= 1
        yield first, _PORT_BITS - size.bit_length() + 1
        first += size


def _holds(outer: NetworkKey, inner: NetworkKey) -> bool:
    shift = _ADDRESS_BITS - outer[1]
    return outer[1] <= inner[1] and outer[0] >> shift == inner[0] >> shift


def _reverse(name: str) -> bytes:
    return name[::-1].encode()


__all__ = [
    "NameNode",
    "NetworkKey",
    "NetworkNode",
    "Places",
    "cut_ports",
    "network_key",
    "tidy",
]
