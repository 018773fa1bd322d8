# SPDX-License-Identifier: MIT
"""Addresses that an answer may not lead to, or only for a host that the policy means.

A name is what a policy allows, and whoever owns a name decides where it leads: to a router, a
neighbour, or the address at which a cloud machine gets its credentials (DNS rebinding). The
ranges are those of IANA's registries of special-purpose addresses (RFC 6890).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, ip_network

from leakstop.policy.rules import IPNetwork


class Belief(IntEnum):
    """Which answers are believed to lead somewhere. ``enum belief`` of ``bpf/values.h``."""

    ANY = 0
    OWN = 1
    """Those about a name that a rule allows exactly: whoever writes it means it."""
    NONE = 2


_WRITTEN: Mapping[Belief, tuple[str, ...]] = {
    Belief.OWN: (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # between a provider and its customers (RFC 6598)
        "fc00::/7",
    ),
    Belief.NONE: (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "192.0.0.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/127",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        # Metadata elsewhere: Alibaba, Azure's host agent, AWS, Google.
        "100.100.100.200/32",
        "168.63.129.16/32",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
    ),
}
_TRANSLATED = int(ip_network("64:ff9b::/96").network_address)
"""A translator turns what is below this prefix into IPv4 (RFC 6052)."""


def special_networks() -> Iterator[tuple[IPNetwork, Belief]]:
    """All ranges, those of IPv4 also as a translator's."""
    for belief, texts in _WRITTEN.items():
        for text in texts:
            network = ip_network(text)
            yield network, belief
            if isinstance(network, IPv4Network):
                first = _TRANSLATED | int(network.network_address)
                yield IPv6Network((first, 96 + network.prefixlen)), belief


__all__ = ["Belief", "special_networks"]
