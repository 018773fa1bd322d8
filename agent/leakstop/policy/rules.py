# SPDX-License-Identifier: MIT
"""The values that a checked policy is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPV4LENGTH, IPV6LENGTH, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Union

from leakstop.model.finding import Severity
from leakstop.model.verdict import Action, Leak, Mode, RuleRef
from leakstop.policy.scopes import EVERYBODY, Scope

IPNetwork = Union[IPv4Network, IPv6Network]


class Protocol(str, Enum):
    """What is spoken. Four of them are TCP and differ in what the stream must show of itself."""

    TLS = "tls"
    """TLS whose ClientHello shows a name that is allowed, too: the default on port 443."""
    HTTP = "http"
    """Plain HTTP; the same of the host of every request. The default on port 80."""
    STREAM = "stream"
    """Anything, but a name that it shows must be allowed. The default on other ports; no word
    of the language."""
    TCP = "tcp"
    """Anything; no name is asked for."""
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


class Reach(str, Enum):
    """How far a name in a rule reaches."""

    EXACT = "exact"
    """This name alone."""
    ONE = "one"
    """``*.x``: names exactly one label below it."""
    DEEP = "deep"
    """``**.x``: names one or more labels below it."""


REACHES = {None: Reach.EXACT, "*.": Reach.ONE, "**.": Reach.DEEP}
"""By what stands before the name."""


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
        if self.reach is Reach.EXACT:
            return self.name
        return f"*.{self.name}" if self.reach is Reach.ONE else f"**.{self.name}"


@dataclass(frozen=True, slots=True)
class AddressPlace:
    """An address or a network."""

    network: IPNetwork
    """A single address is a /32 or /128. v4-mapped IPv6 is written as IPv4."""

    def __str__(self) -> str:
        single = self.network.prefixlen == self.network.max_prefixlen
        return str(self.network.network_address if single else self.network)


Place = Union[NamePlace, AddressPlace]


def to_network(text: str) -> IPNetwork:
    """Read a network or a single address: ``ip_network``, which takes twice as long for these.

    Raises:
        ValueError: it is neither.
    """
    if "/" in text:
        return IPv6Network(text) if ":" in text else IPv4Network(text)
    if ":" in text:
        return IPv6Network((int(IPv6Address(text)), IPV6LENGTH))
    return IPv4Network((int(IPv4Address(text)), IPV4LENGTH))


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
    names: int = 0
    """Of an allowed wildcard: how many names below it a job may ask for; 0 is not written."""
    scope: Scope = EVERYBODY


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
    lockdown: frozenset[str] = frozenset()
    """What is taken away from the job: ``sudo``, ``docker``."""
    rules: tuple[Rule, ...] = ()
    homes: Mapping[str, Home] = field(default_factory=dict)
    """By secret name."""
    format_homes: Mapping[str, Home] = field(default_factory=dict)
    """Homes that formats give to secrets that are only found while the job runs, by their words."""
    sinks: tuple[Rule, ...] = ()
    """Places where anyone can store data (preset ``public-sinks``), as data, not as denials."""
    sources: tuple[str, ...] = ()
    """Files, inputs and flags it was made of, in order."""
    digest: str = ""
    """``sha256:`` and 64 hexadecimal digits over the canonical JSON of all other fields."""
