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
