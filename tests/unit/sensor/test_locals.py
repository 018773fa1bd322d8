# SPDX-License-Identifier: MIT
"""What stays on this machine. The texts are the kernel's, of a machine with Docker."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from leakstop.policy.match import LOOPBACK
from leakstop.sensor import locals as local_networks
from leakstop.sensor.links import Interface

# eth0 192.0.2.7/24 with a second address 192.0.2.8, docker0 198.51.100.1/25, br-… .129/25.
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 1
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.7
           /32 host LOCAL
        |-- 192.0.2.8
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
     |-- 198.51.100.1
        /32 host LOCAL
     |-- 127.0.0.0
        /8 host LOCAL
"""
ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t006433C6\t00000000\t0001\t0\t0\t0\t80FFFFFF\t0\t0\t0
br-0123456789ab\t806433C6\t00000000\t0001\t0\t0\t0\t80FFFFFF\t0\t0\t0
br-0123456789ab\t007100CB\t816433C6\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000007 02 40 00 80     eth0
20010db8000000010000000000000001 03 40 00 80  docker0
fe800000000000000042caff00000001 03 40 20 80  docker0
"""
BRIDGES = {"docker0", "br-0123456789ab"}


def found(bridges=BRIDGES):
    return local_networks.networks(
        fib_trie=FIB_TRIE, route=ROUTE, if_inet6=IF_INET6, bridges=bridges
    )


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.8.9.10", True),
        ("0.0.0.0", True),
        ("::1", True),
        ("192.0.2.7", True),
        ("192.0.2.8", True),  # a second address of one interface
        ("192.0.2.9", False),  # a neighbour on the uplink
        ("192.0.2.255", False),
        ("198.51.100.1", True),
        ("198.51.100.77", True),  # a container
        ("198.51.100.200", True),  # a container on a network of the job's
        ("203.0.113.5", False),  # beyond a gateway on that network
        ("2001:db8::7", True),
        ("2001:db8::8", False),
        ("2001:db8:0:1::99", True),
        ("fe80::42:caff:0:1", True),
        ("fe80::1", False),  # the uplink's router has such an address, too
    ],
)
def test_what_is_local(address, local):
    assert any(ip_address(address) in network for network in found()) == local


def test_a_bridge_that_is_not_a_container_engines_is_an_uplink():
    assert ip_network("198.51.100.0/25") not in found(bridges=set())
    assert ip_network("198.51.100.1/32") in found(bridges=set())


def test_without_anything_there_is_loopback():
    nothing = local_networks.networks(fib_trie="", route="", if_inet6="", bridges=())
    assert nothing == LOOPBACK


def test_an_interface_may_be_called_anything(tmp_path):
    """The kernel forbids it few signs, and not those that are no ASCII."""
    name = b"\xff\x1c\x85"
    (tmp_path / "fib_trie").write_text(FIB_TRIE)
    (tmp_path / "route").write_bytes(ROUTE.encode().replace(b"eth0", name))
    (tmp_path / "if_inet6").write_bytes(IF_INET6.encode().replace(b"eth0", name))
    networks = local_networks.read_networks(tmp_path)
    assert {ip_network("192.0.2.8/32"), ip_network("2001:db8::7/128")} <= {*networks}


def test_container_bridges():
    interfaces = [
        Interface(1, "lo", "", 0),
        Interface(2, "eth0", "", 0),
        Interface(10, "docker0", "bridge", 0),
        Interface(11, "veth0", "veth", 10),
        Interface(12, "br-0123456789ab", "bridge", 0),
        Interface(13, "podman1", "bridge", 0),
        Interface(14, "br-office", "bridge", 0),
        Interface(15, "docker_gwbridge", "dummy", 0),
    ]
    ours = {"docker0", "br-0123456789ab", "podman1"}
    assert local_networks.container_bridges(interfaces) == ours


@pytest.mark.parametrize("kind", ["", "vlan", "vxlan", "tun", "bond", "wireguard"])
def test_a_bridge_with_a_way_out_is_none_of_containers(kind):
    bridge = Interface(10, "docker0", "bridge", 0)
    ports = [Interface(11, "veth0", "veth", 10), Interface(12, "eth1", kind, 10)]
    assert local_networks.container_bridges([bridge, *ports]) == frozenset()


def test_this_machine_has_loopback_and_nothing_as_wide_as_the_internet():
    networks = local_networks.read_networks()
    assert ip_network("127.0.0.0/8") in networks
    assert min(network.prefixlen for network in networks) >= 8
