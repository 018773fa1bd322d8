# SPDX-License-Identifier: MIT
"""Which answers may lead where."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import AddressPlace, Policy, PortRange, Protocol, Rule
from leakstop.policy.special import Belief, special_networks
from leakstop.policy.tables import compile_tables

EMPTY = compile_tables(Policy())


def rule(network: str, action: Action) -> Rule:
    place = AddressPlace(ip_network(network))
    return Rule(action, place, Protocol.TLS, (PortRange(443, 443),), RuleRef(network, "p.yml", 1))


@pytest.mark.parametrize(
    ("address", "belief"),
    [
        ("203.0.113.7", Belief.ANY),
        ("2001:db8::7", Belief.ANY),
        ("172.15.255.255", Belief.ANY),
        ("172.16.0.0", Belief.OWN),
        ("172.31.255.255", Belief.OWN),
        ("172.32.0.0", Belief.ANY),
        ("100.64.0.1", Belief.OWN),
        ("100.100.100.200", Belief.NONE),
        ("100.100.100.201", Belief.OWN),
        ("169.254.169.254", Belief.NONE),
        ("::ffff:169.254.169.254", Belief.NONE),
        ("64:ff9b::a9fe:a9fe", Belief.NONE),
        ("64:ff9b::a00:1", Belief.OWN),
        ("64:ff9b::cb00:7107", Belief.ANY),
        ("fd12::1", Belief.OWN),
        ("fd00:ec2::254", Belief.NONE),
        ("fe80::1", Belief.NONE),
        ("ff02::fb", Belief.NONE),
        ("255.255.255.255", Belief.NONE),
        ("0.0.0.0", Belief.NONE),
    ],
)
def test_a_network_says_which_answers_lead_there(address: str, belief: Belief) -> None:
    assert EMPTY.lookup_address(address).belief is belief


def test_an_allowed_address_settles_it() -> None:
    rules = (rule("10.0.0.0/8", Action.ALLOW), rule("169.254.169.254", Action.ALLOW))
    tables = compile_tables(Policy(rules=(*rules, rule("192.168.0.0/16", Action.DENY))))
    found = {
        address: tables.lookup_address(address).belief
        for address in ("10.1.1.1", "169.254.169.254", "169.254.169.253", "192.168.1.1")
    }
    assert found == {
        "10.1.1.1": Belief.ANY,
        "169.254.169.254": Belief.ANY,
        "169.254.169.253": Belief.NONE,
        "192.168.1.1": Belief.OWN,
    }


def test_a_rule_for_all_of_ipv6_is_not_about_ipv4() -> None:
    tables = compile_tables(Policy(rules=(rule("::/0", Action.ALLOW),)))
    assert tables.lookup_address("169.254.169.254").belief is Belief.NONE
    assert tables.lookup_address("fe80::1").belief is Belief.ANY


def test_no_range_is_written_twice() -> None:
    networks = [network for network, _ in special_networks()]
    assert len(networks) == len(set(networks))
