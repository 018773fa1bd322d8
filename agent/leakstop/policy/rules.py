# SPDX-License-Identifier: MIT
"""The values that a checked policy is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Union

from leakstop.model.finding import Severity
from leakstop.model.verdict import Action, Leak, Mode, RuleRef

IPNetwork = Union[IPv4Network, IPv6Network]


class Protocol(str, Enum):
    """What is spoken. For the kernel ``tls``, ``http`` and ``tcp`` are all TCP."""

    TLS = "tls"
    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"
    DNS = "dns"
    """The name may be looked up, not connected to."""
    ICMP = "icmp"
    ANY = "any"
    """Every protocol and port: a ``deny`` or a sink without a port. Never an ``allow``."""


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports ``first`` to ``last``, both included, 1 to 65535."""

    first: int
    last: int

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


class Reach(str, Enum):
    """How far a name in a rule reaches."""

    EXACT = "exact"
    """This name alone."""
    ONE = "one"
    """``*.x``: names exactly one label below it."""
    DEEP = "deep"
    """``**.x``: names one or more labels below it."""


@dataclass(frozen=True, slots=True)
class NamePlace:
    """A name, or the names below one."""

    name: str
    """Lower case, A-label form, without a trailing dot and without the ``*.``."""
    reach: Reach = Reach.EXACT

    def covers(self, name: str) -> bool:
        """Whether ``name`` (lower case, no trailing dot) is meant."""
        if self.reach is Reach.EXACT:
            return name == self.name
        below, dot, _ = name.rpartition("." + self.name)
        inside = bool(dot) and name.endswith("." + self.name) and bool(below)
        return inside and (self.reach is Reach.DEEP or "." not in below)

    def __str__(self) -> str:
        prefix = {Reach.EXACT: "", Reach.ONE: "*.", Reach.DEEP: "**."}[self.reach]
        return prefix + self.name


@dataclass(frozen=True, slots=True)
class AddressPlace:
    """An address or a network."""

    network: IPNetwork
    """A single address is a /32 or /128. v4-mapped IPv6 is written as IPv4."""

    def __str__(self) -> str:
        single = self.network.prefixlen == self.network.max_prefixlen
        return str(self.network.network_address if single else self.network)


Place = Union[NamePlace, AddressPlace]


@dataclass(frozen=True, slots=True)
class Rule:
    """One destination that the policy names."""

    action: Action
    place: Place
    protocol: Protocol
    ports: tuple[PortRange, ...]
    """Empty for ICMP, DNS and ANY."""
    ref: RuleRef
    quiet: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a secret may go."""

    nowhere: bool
    rules: tuple[Rule, ...]
    """Their ``action`` is ALLOW, but a home opens no destination."""
    text: tuple[str, ...]
    """As written, e.g. ``("publish:npm",)`` or ``("nowhere",)``."""
    placed_by: str = "policy"
    """``policy``, ``input`` or ``format``."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, checked, merged and complete: nothing in it has to be looked up any more."""

    mode: Mode = Mode.AUDIT
    leak: Leak = Leak.KILL
    fail_on: Severity = Severity.HIGH
    on_unsupported: str = ""
    """``fail`` or ``audit``; empty means: fail in block, audit in audit."""
    rules: tuple[Rule, ...] = ()
    homes: Mapping[str, Home] = field(default_factory=dict)
    """By secret name."""
    sinks: tuple[Rule, ...] = ()
    """Places where anyone can store data (preset ``public-sinks``), as data, not as denials."""
    sources: tuple[str, ...] = ()
    """Files, inputs and flags it was made of, in order."""
    digest: str = ""
    """``sha256:`` and 64 hexadecimal digits over the canonical JSON of all other fields."""
