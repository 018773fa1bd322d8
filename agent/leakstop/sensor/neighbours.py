# SPDX-License-Identifier: MIT
"""Networks of containers that the job makes while it is guarded: not egress either.

``docker compose up`` in a step makes a bridge that was not there when the policy's tables
were frozen. Only private ranges count: whoever may make networks could otherwise declare any
address of the world to be one of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Protocol

from leakstop.bpf.fill import mapped
from leakstop.policy.rules import IPNetwork
from leakstop.sensor.links import Changes

# <linux/rtnetlink.h>: links, IPv4 addresses, IPv6 addresses
_GROUPS = 0x1 | 0x10 | 0x100
_MAPPED_BITS = 96
# RFC 1918, RFC 4193. Not 169.254.0.0/16: the metadata service is there.
_PRIVATE: tuple[IPNetwork, ...] = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)


class Table(Protocol):
    """The kernel's list."""

    def update(self, key: bytes, value: bytes) -> None:
        """Set one entry."""

    def delete(self, key: bytes) -> None:
        """Remove one entry."""


class Neighbours:
    """Listens for changed interfaces, and keeps the kernel's list true."""

    def __init__(
        self, table: Table, known: Iterable[IPNetwork], read: Callable[[], Iterable[IPNetwork]]
    ) -> None:
        self._table = table
        self._known = frozenset(known)
        self._read = read
        self._listed: frozenset[IPNetwork] = frozenset()
        self._changes = Changes(_GROUPS)

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up for changes too."""
        self._changes.wake(epoll)

    def follow(self) -> None:
        """Look again if anything has changed."""
        if self._changes.any():
            self._refresh()

    def close(self) -> None:
        """Stop listening."""
        self._changes.close()

    def _refresh(self) -> None:
        found = frozenset(filter(_is_private, self._read())) - self._known
        for network in found - self._listed:
            self._table.update(_key(network), b"\x01")
        for network in self._listed - found:
            self._table.delete(_key(network))
        self._listed = found


def _is_private(network: IPNetwork) -> bool:
    return any(
        private.version == network.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in _PRIVATE
    )


def _key(network: IPNetwork) -> bytes:
    bits = network.prefixlen + (_MAPPED_BITS if network.version == 4 else 0)
    return bits.to_bytes(4, "little") + mapped(str(network.network_address))


__all__ = ["Neighbours"]
