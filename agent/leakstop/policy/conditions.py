# SPDX-License-Identifier: MIT
"""What one bit of the compiled tables stands for, and the hand that gives them out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from leakstop.errors import PolicyError
from leakstop.policy.match import TCP_PROTOCOLS
from leakstop.policy.rules import Home, Place, PortRange, Protocol, Rule, tidy
from leakstop.policy.scopes import EVERYBODY, Scope

LIMIT = 256
"""Bits of a vector: four words of 64 in the kernel."""


class Kind(str, Enum):
    """What a condition decides."""

    ALLOW = "allow"
    DENY = "deny"
    SINK = "sink"
    HOME = "home"


@dataclass(frozen=True, slots=True)
class Condition:
    """What one bit stands for. Rules that differ in nothing else share it."""

    kind: Kind
    protocol: Protocol
    """Of a deny and a sink ``tcp`` for all of TCP: they do not ask what a stream shows."""
    ports: tuple[PortRange, ...]
    """Sorted; they neither overlap nor touch."""
    places: frozenset[Place] = frozenset()
    """Of a home: where it is, so that secrets with the same home share it. Else empty."""
    scope: Scope = EVERYBODY


class Conditions:
    """Hands out one bit for each distinct condition."""

    def __init__(self) -> None:
        self._index: dict[Condition, int] = {}
        self._tidied: dict[tuple[Kind, Protocol, tuple[PortRange, ...], Scope], int] = {}

    def of_rule(self, kind: Kind, rule: Rule) -> int:
        """The bit of all rules of this kind, protocol and ports."""
        written = (kind, rule.protocol, rule.ports, rule.scope)
        bit = self._tidied.get(written)
        if bit is None:
            bit, _ = self._bit(Condition(kind, *spoken(kind, rule), scope=rule.scope))
            self._tidied[written] = bit
        return bit

    def of_home(self, rule: Rule, places: frozenset[Place]) -> tuple[int, bool]:
        """The bit of a home with the ports of ``rule``, and whether it is new."""
        return self._bit(Condition(Kind.HOME, *spoken(Kind.HOME, rule), places, rule.scope))

    @property
    def room(self) -> int:
        """How many more there may be."""
        return LIMIT - len(self._index)

    def all(self) -> tuple[Condition, ...]:
        """All conditions in the order of their bits."""
        if len(self._index) > LIMIT:
            raise PolicyError(
                f"{len(self._index)} different combinations of ports and scopes; "
                f"the limit is {LIMIT}. Hosts with the same ports and scopes count once.",
                fix="write one range of ports where many single ports are listed, "
                "and the same ports for hosts that can share them",
            )
        return tuple(self._index)

    def _bit(self, condition: Condition) -> tuple[int, bool]:
        new = condition not in self._index
        index = self._index.setdefault(condition, len(self._index))
        # Past the limit they are only counted, for the message.
        return 1 << index if index < LIMIT else 0, new


def spoken(kind: Kind, rule: Rule) -> tuple[Protocol, tuple[PortRange, ...]]:
    """The protocol as far as it matters, and the ports where it has any."""
    protocol = rule.protocol
    if protocol in TCP_PROTOCOLS and kind in (Kind.DENY, Kind.SINK):
        protocol = Protocol.TCP
    ported = protocol in TCP_PROTOCOLS or protocol is Protocol.UDP
    return protocol, tidy(rule.ports) if ported else ()


def by_condition(home: Home) -> dict[tuple[Protocol, tuple[PortRange, ...], Scope], list[Rule]]:
    """The rules of ``home``, by what one condition can say of them."""
    groups: dict[tuple[Protocol, tuple[PortRange, ...], Scope], list[Rule]] = {}
    for rule in () if home.nowhere else home.rules:
        groups.setdefault((*spoken(Kind.HOME, rule), rule.scope), []).append(rule)
    return groups


__all__ = ["LIMIT", "Condition", "Conditions", "Kind", "by_condition", "spoken"]
