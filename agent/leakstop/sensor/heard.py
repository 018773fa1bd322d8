# SPDX-License-Identifier: MIT
"""What the portable sensor hears on the wire, once it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

DOCKER_RESOLVER = "127.0.0.11"
"""In every job container. A container's firewall sends what is asked there to a port of
dockerd's choice, and a packet socket sees it after that: so this address counts on all ports."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that left."""

    name: str
    """As it was sent, without the trailing dot: a secret in it has upper case too."""
    qtype: str
    resolver: str
    ip: str
    """It came from here,"""
    port: int
    """and this UDP port."""
    number: int
    """The message's id."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer that arrived."""

    name: str
    """The name that was asked, as it was sent."""
    addresses: tuple[str, ...]
    """Those of the name, and of what it is an alias for in the same message."""
    ttl_s: int
    resolver: str
    port: int
    number: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A TCP connection that somebody here begins."""

    local_ip: str
    local_port: int
    ip: str
    """The peer's."""
    port: int


Message = Union[Asked, Answered, Opened]
