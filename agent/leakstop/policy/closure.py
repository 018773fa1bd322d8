# SPDX-License-Identifier: MIT
"""Tables in which the longest prefix alone is the whole answer.

The kernel's LPM tries return the longest matching prefix and nothing else. So whatever the
shorter prefixes say is compiled into the longer ones here: ``*.b`` and ``**.b`` into
``*.a.b`` and ``a.b``, a network into the networks inside it. Ports are cut into prefixes
that do not overlap at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address

from leakstop.policy.budgets import Budget
from leakstop.policy.match import plain_network
from leakstop.policy.rules import IPNetwork, NamePlace, Place, PortRange, Reach
from leakstop.policy.special import Belief

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
    own: bool = False
    """A rule allows exactly this name."""
    deep_budget: int = 0
    """Who pays for a name: number of the budget plus one, or 0."""
    one_budget: int = 0
    """The same for names one label below this node."""


@dataclass(frozen=True, slots=True)
class NetworkNode:
    """A node of the trie of networks."""

    vector: int
    """Conditions of this network and of those around it."""
    local: bool
    """It does not leave this machine."""
    belief: Belief = Belief.ANY
    """Which answers may lead there."""


_ANYWHERE = NetworkNode(vector=0, local=False)


class Places:
    """Collects which conditions hold where, and closes the collection over prefixes."""

    def __init__(self) -> None:
        self._names: dict[Reach, dict[str, int]] = {reach: {} for reach in Reach}
        self._networks: dict[NetworkKey, int] = {}
        self._local: set[NetworkKey] = set()
        self._beliefs: dict[NetworkKey, Belief] = {}

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

    def add_belief(self, network: IPNetwork, belief: Belief) -> None:
        """Note which answers may lead to ``network``."""
        self._beliefs[network_key(network)] = belief

    def names(
        self, *, own: Collection[str] = (), sink: int = 0, budgets: Iterable[Budget] = ()
    ) -> dict[bytes, NameNode]:
        """Close the names: by reversed bytes, exact names with NUL, those below one with a dot.

        Args:
            own: names that a rule allows exactly: no sinks, and wildcards do not pay for them.
            sink: conditions of sinks.
            budgets: of the allowed patterns; the narrowest that covers a name pays for it, and of
                those for numbered names the most generous.
        """
        exact, one, deep = (self._names[reach] for reach in (Reach.EXACT, Reach.ONE, Reach.DEEP))
        generous = sorted(enumerate(budgets, 1), key=lambda numbered: numbered[1].names)
        payers = {place: number for number, budget in generous for place in budget.places}
        below: dict[str, tuple[int, int]] = {"": (0, 0)}

        def deep_below(name: str) -> tuple[int, int]:
            """The any-depth conditions of names below ``name``, with its ancestors', and who
            pays for them."""
            known = below.get(name)
            if known is None:
                bits, payer = deep_below(name.partition(".")[2])
                payer = payers.get(NamePlace(name, Reach.DEEP), payer)
                known = below[name] = deep.get(name, 0) | bits, payer
            return known

        node = lru_cache(maxsize=None)(NameNode)  # few of them differ
        nodes: dict[bytes, NameNode] = {}
        for name in {**one, **deep}:
            bits, payer = deep_below(name)
            one_payer = payers.get(NamePlace(name, Reach.ONE), payer)
            nodes[_reverse(name) + b"."] = node(bits, one.get(name, 0), False, payer, one_payer)
        for name, named in exact.items():
            parent = name.partition(".")[2]
            bits, payer = deep_below(parent)
            bits |= named | one.get(parent, 0)
            if name in own:
                payer = payers.get(NamePlace(name), 0)
                closed = node(bits & ~sink, 0, True, payer, payer)
            else:
                payer = payers.get(NamePlace(parent, Reach.ONE), payer)
                closed = node(bits, 0, False, payer, payer)
            nodes[_reverse(name) + b"\0"] = closed
        return nodes

    def networks(self, trusted: int = 0) -> dict[NetworkKey, NetworkNode]:
        """Close the networks: each has the conditions of those around it too.

        Args:
            trusted: conditions of rules that make every answer believed which leads there.
        """
        keys = self._networks.keys() | self._local | self._beliefs.keys()
        # A rule for `::/0` is about IPv6: a node of its own keeps it away from IPv4.
        if any(length < _MAPPED[1] and _holds((first, length), _MAPPED) for first, length in keys):
            keys = keys | {_MAPPED}
        nodes: dict[NetworkKey, NetworkNode] = {}
        around: list[NetworkKey] = []
        for key in sorted(keys):  # a network comes before those inside it
            while around and not _holds(around[-1], key):
                around.pop()
            outer = nodes[around[-1]] if around and key != _MAPPED else _ANYWHERE
            vector = self._networks.get(key, 0) | outer.vector
            belief = self._beliefs.get(key, outer.belief)
            nodes[key] = NetworkNode(
                vector,
                outer.local or key in self._local,
                Belief.ANY if vector & trusted else belief,
            )
            around.append(key)
        return nodes


def network_key(network: IPNetwork) -> NetworkKey:
    """Where ``network`` stands in the trie."""
    network = plain_network(network)
    first = int(network.network_address)
    if isinstance(network, IPv4Network):
        return _MAPPED[0] | first, _MAPPED[1] + network.prefixlen
    return first, network.prefixlen


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
]
