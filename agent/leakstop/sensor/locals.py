# SPDX-License-Identifier: MIT
"""Networks that do not leave this machine: its own addresses, and containers' bridges on it.

The network of an uplink is egress, however near the neighbour. Addresses are read from /proc/net
as text: it lists second addresses too, which the classic ioctl does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

from leakstop.policy.match import LOOPBACK
from leakstop.policy.rules import IPNetwork
from leakstop.sensor.links import Interface, read_interfaces

_CONTAINER_BRIDGE = re.compile(r"docker0|docker_gwbridge|br-[0-9a-f]{12}|(?:cni-)?podman\d+")
"""Names that container engines give. A bridge with a name of somebody's own is not taken for
one: it may as well lead out."""
_RTF_GATEWAY = 0x2


def read_networks(proc_net: Path = Path("/proc/net")) -> tuple[IPNetwork, ...]:
    """What is local now. A job may make further networks of containers later."""
    return networks(
        fib_trie=_text(proc_net / "fib_trie"),
        route=_text(proc_net / "route"),
        if_inet6=_text(proc_net / "if_inet6"),
        bridges=container_bridges(read_interfaces()),
    )


def networks(
    *, fib_trie: str, route: str, if_inet6: str, bridges: Collection[str]
) -> tuple[IPNetwork, ...]:
    """What is local, given the text of three files of /proc/net and the names of bridges."""
    found: list[IPNetwork] = [*LOOPBACK, *_own_ipv4(fib_trie)]
    found += (network for name, network in _on_link_ipv4(route) if name in bridges)
    for name, own, network in _ipv6(if_inet6):
        found.append(own)
        # Every interface has fe80::/64, the uplink too: which one is meant, no address tells.
        if name in bridges and not network.is_link_local:
            found.append(network)
    return tuple(dict.fromkeys(found))


def container_bridges(interfaces: Collection[Interface]) -> frozenset[str]:
    """Bridges that a container engine made, and to which nobody added a way out.

    Containers are ports of kind ``veth``. Anything else leads, or may lead, off this machine: a
    network card, a VLAN of one, a tunnel.
    """
    foreign = {interface.master for interface in interfaces if interface.kind != "veth"}
    return frozenset(
        interface.name
        for interface in interfaces
        if interface.kind == "bridge"
        and _CONTAINER_BRIDGE.fullmatch(interface.name)
        and interface.index not in foreign
    )


def _own_ipv4(fib_trie: str) -> Iterator[IPv4Network]:
    """Local routes: ``|-- 192.0.2.7`` and, a line further down, ``/32 host LOCAL``."""
    address = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words[1:] == ["host", "LOCAL"]:
            yield IPv4Network(f"{address}{words[0]}")


def _on_link_ipv4(route: str) -> Iterator[tuple[str, IPv4Network]]:
    """Routes without a gateway. Addresses are hexadecimal, as a little-endian machine has them."""
    for line in filter(None, route.split("\n")[1:]):
        name, destination, _, flags, _, _, _, mask, *_ = line.split("\t")
        if not int(flags, 16) & _RTF_GATEWAY:
            address = IPv4Address(bytes.fromhex(destination)[::-1])
            yield name, IPv4Network((address, int(mask, 16).bit_count()))


def _ipv6(if_inet6: str) -> Iterator[tuple[str, IPv6Network, IPv6Network]]:
    """Interface, its own address, its network."""
    for line in filter(None, if_inet6.split("\n")):
        digits, _, length, _, _, name = line.split(maxsplit=5)
        address = int(digits, 16)
        yield name, IPv6Network(address), IPv6Network((address, int(length, 16)), strict=False)


def _text(path: Path) -> str:
    try:
        return path.read_text("latin-1")  # names of interfaces may be anything
    except OSError:  # a kernel without IPv6 has no if_inet6
        return ""


__all__ = ["container_bridges", "networks", "read_networks"]
