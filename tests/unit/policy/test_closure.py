# SPDX-License-Identifier: MIT
"""What the shorter prefixes say is compiled into the longer ones."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from leakstop.policy.closure import (
    NameNode,
    NetworkNode,
    Places,
    cut_ports,
    network_key,
)
from leakstop.policy.rules import PortRange, tidy
from unit.policy.rulebook import place


def closed(*written: str) -> Places:
    """Places with condition 0, 1, 2 … in the order given."""
    places = Places()
    for bit, text in enumerate(written):
        places.add(place(text), 1 << bit)
    return places


def test_keys_are_reversed_and_end_with_nul_or_a_dot() -> None:
    nodes = closed("api.b.test", "*.b.test", "**.b.test").names()
    assert set(nodes) == {b"tset.b.ipa\0", b"tset.b."}


def test_any_depth_goes_down_to_every_node_and_one_label_to_the_next_alone() -> None:
    nodes = closed("**.test", "*.test", "*.b.test", "a.b.test", "b.test", "x.a.b.test").names()
    assert nodes == {
        b"tset.": NameNode(deep=0b000001, one=0b000010),
        b"tset.b.": NameNode(deep=0b000001, one=0b000100),
        b"tset.b.a\0": NameNode(deep=0b001101, one=0),
        b"tset.b\0": NameNode(deep=0b010011, one=0),
        b"tset.b.a.x\0": NameNode(deep=0b100001, one=0),
    }


def test_a_wildcard_leaves_out_the_name_that_it_stands_below() -> None:
    nodes = closed("b.test", "*.b.test", "**.b.test").names()
    assert nodes[b"tset.b\0"] == NameNode(deep=0b001, one=0)


def test_a_label_that_ends_alike_is_another_domain() -> None:
    nodes = closed("**.b.test", "ab.test", "x.ab.test").names()
    assert nodes[b"tset.ba\0"].deep == 0b010
    assert nodes[b"tset.ba.x\0"].deep == 0b100


def test_a_network_has_what_the_networks_around_it_have() -> None:
    places = closed("192.0.2.0/24", "192.0.2.128/25", "192.0.2.129", "192.0.0.0/16", "192.0.3.1")
    places.add_local(ip_network("192.0.2.128/30"))
    nodes = places.networks()
    assert nodes[network_key(ip_network("192.0.0.0/16"))] == NetworkNode(0b01000, False)
    assert nodes[network_key(ip_network("192.0.2.0/24"))] == NetworkNode(0b01001, False)
    assert nodes[network_key(ip_network("192.0.2.128/25"))] == NetworkNode(0b01011, False)
    assert nodes[network_key(ip_network("192.0.2.128/30"))] == NetworkNode(0b01011, True)
    assert nodes[network_key(ip_network("192.0.2.129"))] == NetworkNode(0b01111, True)
    assert nodes[network_key(ip_network("192.0.3.1"))] == NetworkNode(0b11000, False)


def test_ipv6_stops_where_ipv4_begins() -> None:
    nodes = closed("::/0", "192.0.2.1").networks()
    assert nodes[network_key(ip_network("0.0.0.0/0"))] == NetworkNode(0, False)
    assert nodes[network_key(ip_network("192.0.2.1"))] == NetworkNode(0b10, False)
    beside = closed("2001:db8::/32", "192.0.2.1").networks()
    assert network_key(ip_network("0.0.0.0/0")) not in beside


def test_a_rule_for_all_of_ipv4_is_kept_where_ipv6_stops() -> None:
    nodes = closed("::/0", "0.0.0.0/0", "192.0.2.1").networks()
    assert nodes[network_key(ip_network("0.0.0.0/0"))].vector == 0b010
    assert nodes[network_key(ip_network("192.0.2.1"))].vector == 0b110


@pytest.mark.parametrize(
    ("written", "tidied"),
    [
        ([(443, 443), (80, 80)], [(80, 80), (443, 443)]),
        ([(80, 80), (81, 90), (85, 100)], [(80, 100)]),
        ([(1, 100), (5, 6), (102, 102)], [(1, 100), (102, 102)]),
        ([], []),
    ],
)
def test_ports_are_sorted_and_joined(
    written: list[tuple[int, int]], tidied: list[tuple[int, int]]
) -> None:
    assert tidy(PortRange(*each) for each in written) == tuple(PortRange(*each) for each in tidied)


@pytest.mark.parametrize(
    ("ranges", "always", "cut"),
    [
        ([], 0, []),
        ([], 4, [(0, 0, 4)]),
        ([(443, 443, 1)], 0, [(443, 16, 1)]),
        ([(1, 65535, 1)], 0, [(1 << bit, 16 - bit, 1) for bit in range(16)]),
        ([(8000, 8010, 1)], 0, [(8000, 13, 1), (8008, 15, 1), (8010, 16, 1)]),
        ([(65535, 65535, 1)], 0, [(65535, 16, 1)]),
        (
            [(8000, 8003, 1), (8002, 8002, 2)],
            0,
            [(8000, 15, 1), (8002, 16, 3), (8003, 16, 1)],
        ),
    ],
)
def test_ranges_are_cut_into_the_fewest_prefixes(
    ranges: list[tuple[int, int, int]], always: int, cut: list[tuple[int, int, int]]
) -> None:
    written = [(PortRange(first, last), bit) for first, last, bit in ranges]
    assert list(cut_ports(written, always)) == cut


def test_what_holds_everywhere_holds_around_and_inside_every_range() -> None:
    cut = list(cut_ports([(PortRange(443, 443), 1)], 2))
    assert (443, 16, 3) in cut
    assert {vector for first, _, vector in cut if first != 443} == {2}
    assert sum(1 << 16 - length for _, length, _ in cut) == 1 << 16
