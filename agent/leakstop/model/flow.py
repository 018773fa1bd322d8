# SPDX-License-Identifier: MIT
"""A flow as the policy judges it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Transport(str, Enum):
    """What carries the flow."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    """ICMP and ICMPv6 echo."""
    DNS = "dns"
    """A question for a name, asked of the trusted resolver."""
    OTHER = "other"
    """Any other IP protocol or socket type."""


class Stream(str, Enum):
    """What a TCP stream shows of itself in its first bytes. ``bpf/leakstop.h`` has this order."""

    UNSEEN = "unseen"
    """Nothing was sent yet: a connect, or no TCP."""
    TLS = "tls"
    """A ClientHello."""
    HTTP = "http"
    """A plain HTTP request."""
    HIDDEN = "hidden"
    """A ClientHello whose real name is encrypted (ECH), so the one it shows means nothing."""
    OTHER = "other"
    """Anything else, or something broken."""


@dataclass(frozen=True, slots=True)
class Who:
    """Whose flow it is, as scoped rules judge it."""

    steps: tuple[str, ...] | None = ()
    """What its step is called: the name that people see, its id, its ``uses:`` without the ref.
    Empty outside of steps; ``None``: nobody knows."""
    process: str = "/"
    """Path of the executable; empty: nobody knows."""
    container: tuple[str, ...] | None = ()
    """Image and name; empty outside of containers, ``None``: nobody knows."""
    runner: bool = False
    """It is the runner itself."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One attempt to reach something."""

    transport: Transport
    """What carries it."""
    port: int = 0
    """Destination port, 0 for ICMP and DNS questions."""
    ip: str = ""
    """Destination address as text, v4-mapped addresses as IPv4; empty for DNS questions."""
    names: tuple[str, ...] = ()
    """The names that led to this address (lower case, no trailing dot), or the name asked for."""
    stream: Stream = Stream.UNSEEN
    """What the connection shows of itself, as soon as it has."""
    shown: str = ""
    """The name in the stream (SNI or Host; lower case, no trailing dot), empty if it shows none."""
    who: Who = Who()
