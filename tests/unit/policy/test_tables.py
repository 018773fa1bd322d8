# SPDX-License-Identifier: MIT
"""The compiled tables, entry by entry. That they agree with the reference is a property test."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network, ip_network

import pytest

from leakstop.errors import ExitCode, PolicyError
from leakstop.model.verdict import Action, Reason
from leakstop.policy.closure import NetworkNode
from leakstop.policy.rules import Policy, PortRange, Protocol, Rule
from leakstop.policy.special import Belief
from leakstop.policy.tables import (
    LIMIT,
    Condition,
    Kind,
    Proto,
    compile_tables,
    vector_bytes,
)
from unit.policy.rulebook import allow, deny, home, icmp, lookup, other, tcp, udp


def test_rules_with_the_same_protocol_and_ports_share_a_condition() -> None:
    policy = Policy(
        rules=(
            allow("a.test", (80, 80), (443, 443)),
            allow("b.test", (443, 443), (80, 80), protocol=Protocol.TCP),
            allow("*.c.test", (80, 80), (443, 443)),
            allow("192.0.2.0/24", (443, 443), (80, 80)),
            deny("c.test", (443, 443), (80, 80), protocol=Protocol.TLS),
            deny("f.test", (443, 443), (80, 80), protocol=Protocol.TCP),
            deny("d.test", quiet=True),
            deny("e.test"),
        )
    )
    tables = compile_tables(policy)
    ports = (PortRange(80, 80), PortRange(443, 443))
    assert tables.conditions == (
        Condition(Kind.ALLOW, Protocol.TLS, ports),
        Condition(Kind.ALLOW, Protocol.TCP, ports),
        Condition(Kind.DENY, Protocol.TCP, ports),
        Condition(Kind.DENY, Protocol.ANY, ()),
    )
    assert (tables.allow, tables.deny, tables.sink) == (0b0011, 0b1100, 0)


def test_ports_mean_nothing_where_the_protocol_has_none() -> None:
    bare = allow("a.test", protocol=Protocol.ICMP)
    policy = Policy(rules=(bare, replace(bare, ports=(PortRange(1, 9),))))
    assert compile_tables(policy).conditions == (Condition(Kind.ALLOW, Protocol.ICMP, ()),)


def test_what_differs_in_kind_protocol_or_ports_has_a_condition_of_its_own() -> None:
    policy = Policy(
        rules=(
            allow("a.test"),
            allow("a.test", protocol=Protocol.UDP),
            allow("a.test", (444, 444)),
            allow("a.test", protocol=Protocol.ICMP),
            allow("a.test", protocol=Protocol.DNS),
            deny("a.test", (443, 443), protocol=Protocol.TCP),
        ),
        sinks=(deny("a.test", (443, 443), protocol=Protocol.TCP),),
        homes={"TOKEN": home(allow("a.test"))},
    )
    tables = compile_tables(policy)
    assert len(tables.conditions) == 8
    assert (tables.allow, tables.deny) == (0b00011111, 0b00100000)
    assert (tables.sink, tables.homes) == (0b01000000, {"TOKEN": 0b10000000})


def test_secrets_with_the_same_home_share_it_in_whatever_order_it_is_written() -> None:
    first, second = allow("a.test"), allow("b.test")
    policy = Policy(
        homes={
            "ONE": home(first, second),
            "TWO": home(second, first),
            "LESS": home(first),
            "MORE": home(first, second, allow("a.test", (8443, 8443))),
            "NONE": home(),
        }
    )
    tables = compile_tables(policy)
    assert tables.homes["ONE"] == tables.homes["TWO"] != tables.homes["LESS"]
    assert tables.homes["MORE"] & tables.homes["ONE"] == tables.homes["ONE"]
    assert tables.homes["NONE"] == 0
    assert len(tables.conditions) == 3
    assert tables.at_home("LESS", tcp("a.test"))
    assert not tables.at_home("LESS", tcp("b.test"))
    assert not tables.at_home("UNPLACED", tcp("a.test"))


def test_a_home_gives_no_right() -> None:
    tables = compile_tables(Policy(homes={"TOKEN": home(allow("a.test"))}))
    assert tables.decide(tcp("a.test")) == (Action.DENY, Reason.NOT_NAMED)
    assert (tables.allow, tables.deny) == (0, 0)


def test_the_limit_counts_conditions_and_not_hosts() -> None:
    ports = range(1, LIMIT + 1)
    rules = [allow(f"h{port}.test", (port, port)) for port in ports for _ in range(3)]
    tables = compile_tables(Policy(rules=tuple(rules)))
    assert len(tables.conditions) == LIMIT
    assert tables.decide(tcp("h256.test", 256)) == (Action.ALLOW, Reason.ALLOW_RULE)
    assert tables.decide(tcp("h256.test", 255)) == (Action.DENY, Reason.NOT_NAMED)
    assert vector_bytes(tables.allow) == b"\xff" * 32


@pytest.mark.parametrize("count", [257, 5000])
def test_one_condition_too_many_is_refused_with_the_number(count: int) -> None:
    rules = tuple(allow("a.test", (port, port)) for port in range(1, count + 1))
    with pytest.raises(PolicyError) as caught:
        compile_tables(Policy(rules=rules))
    assert caught.value.what == (
        f"{count} different combinations of ports and scopes; the limit is 256. "
        "Hosts with the same ports and scopes count once."
    )
    assert caught.value.exit_code is ExitCode.POLICY


def test_a_vector_is_four_little_endian_words() -> None:
    vector = 1 | 1 << 64 | 1 << 255
    assert vector_bytes(vector) == b"\1" + bytes(7) + b"\1" + bytes(22) + b"\x80"
    assert len(vector_bytes(0)) == 32


def test_ipv4_stands_under_its_mapped_prefix() -> None:
    tables = compile_tables(Policy(rules=(allow("192.0.2.0/24"), allow("2001:db8::/32"))))
    vector = tables.allow
    assert tables.networks[IPv6Network("::ffff:192.0.2.0/120")] == NetworkNode(vector, False)
    assert tables.networks[IPv6Network("2001:db8::/32")] == NetworkNode(vector, False)
    here = NetworkNode(0, True, Belief.NONE)
    assert tables.networks[IPv6Network("::ffff:127.0.0.0/104")] == here
    assert tables.networks[IPv6Network("::1/128")] == here


def test_a_question_is_looked_up_as_a_protocol_of_its_own() -> None:
    allowed, closed, hidden, tcp_only, sink = (
        allow("a.test"),
        deny("a.test"),
        deny("b.test", protocol=Protocol.DNS),
        deny("a.test", (80, 80), protocol=Protocol.TCP),
        deny("s.test", (80, 80), protocol=Protocol.TCP),
    )
    policy = Policy(
        rules=(allowed, closed, hidden, tcp_only), sinks=(sink,), homes={"TOKEN": home(allowed)}
    )
    tables = compile_tables(policy)
    assert tables.ports[Proto.DNS, 0, 0] == 0b110111
    assert tables.ports[Proto.ICMP, 0, 0] == 0b000010
    assert tables.ports[Proto.OTHER, 0, 0] == 0b000010
    assert tables.lookup_port(Proto.TCP, 443) == 0b100011
    assert tables.lookup_port(Proto.TCP, 80) == 0b011010
    assert tables.lookup_port(Proto.UDP, 443) == 0b000010


def test_an_empty_policy_has_no_entry_but_this_machine() -> None:
    tables = compile_tables(Policy())
    assert (tables.names, tables.ports, tables.conditions) == ({}, {}, ())
    assert all(not node.vector for node in tables.networks.values())
    assert all(node.local or node.belief for node in tables.networks.values())
    for flow in (tcp("a.test"), lookup("a.test"), tcp("192.0.2.1"), icmp("2001:db8::1")):
        assert tables.decide(flow) == (Action.DENY, Reason.NOT_NAMED)
    assert tables.decide(other("192.0.2.1")) == (Action.DENY, Reason.PROTOCOL)
    assert tables.decide(tcp("::ffff:127.0.0.1")) == (Action.ALLOW, Reason.LOCAL)


def test_a_look_up_takes_the_longest_prefix_and_nothing_else() -> None:
    # Without the closure the node of `a.b.test` would hide what `**.test` says.
    tables = compile_tables(Policy(rules=(allow("**.test"), deny("a.b.test"))))
    shortened = {key: node for key, node in tables.names.items() if key.endswith(b".")}
    assert len(shortened) == 1
    assert tables.lookup_name("a.b.test") == 0b11
    assert tables.lookup_name("b.test") == 0b01
    assert tables.lookup_name("test") == 0
    assert tables.lookup_name("") == 0


def test_a_local_address_answers_to_rules_about_addresses_alone() -> None:
    policy = Policy(
        rules=(deny("ads.test", (80, 80), protocol=Protocol.TCP), deny("172.18.0.9")),
    )
    tables = compile_tables(policy, local=[ip_network("172.18.0.0/16")])
    assert tables.decide(tcp("172.18.0.2", 80, "ads.test")) == (Action.ALLOW, Reason.LOCAL)
    assert tables.decide(tcp("172.18.0.9", 80)) == (Action.DENY, Reason.DENY_RULE)
    assert tables.decide(tcp("172.19.0.2", 80, "ads.test")) == (Action.DENY, Reason.DENY_RULE)


@pytest.mark.parametrize(
    ("rule", "resolvers"),
    [
        (allow("192.0.2.53", (53, 53), protocol=Protocol.UDP), ("192.0.2.53",)),
        (allow("2001:db8::53", (1, 100), protocol=Protocol.UDP), ("2001:db8::53",)),
        (allow("192.0.2.53", (853, 853), protocol=Protocol.UDP), ()),
        (allow("192.0.2.53", (53, 53), protocol=Protocol.TCP), ()),
        (allow("192.0.2.0/24", (53, 53), protocol=Protocol.UDP), ()),
        (allow("dns.test", (53, 53), protocol=Protocol.UDP), ()),
        (deny("192.0.2.53", (53, 53), protocol=Protocol.UDP), ()),
    ],
)
def test_an_address_allowed_on_port_53_teaches(rule: Rule, resolvers: tuple[str, ...]) -> None:
    assert compile_tables(Policy(rules=(rule, rule))).resolvers == resolvers


@pytest.mark.parametrize(
    "veto", [deny("192.0.2.0/24"), deny("192.0.2.53", (53, 53), protocol=Protocol.UDP)]
)
def test_a_resolver_that_is_denied_teaches_nothing(veto: Rule) -> None:
    teacher = allow("192.0.2.53", (53, 53), protocol=Protocol.UDP)
    policy = Policy(rules=(teacher, veto))
    assert compile_tables(policy).resolvers == ()
    harmless = deny("192.0.2.53", (80, 80), protocol=Protocol.TCP)
    assert compile_tables(Policy(rules=(teacher, harmless))).resolvers == ("192.0.2.53",)


def test_ten_thousand_hosts_are_as_many_nodes_and_one_condition() -> None:
    hosts = [f"h{number}.zone{number % 97}.test" for number in range(10_000)]
    rules = [allow(host) for host in hosts] + [allow(f"*.{host}") for host in hosts]
    rules += [allow(f"2001:db8:{number:x}::/48") for number in range(10_000)]
    tables = compile_tables(Policy(rules=tuple(rules)))
    assert len(tables.names) == 20_000
    assert len(tables.conditions) == 1
    assert tables.decide(tcp(hosts[-1]))[0] is Action.ALLOW
    assert tables.decide(tcp(f"x.{hosts[-1]}"))[0] is Action.ALLOW
    assert tables.decide(tcp(f"y.x.{hosts[-1]}"))[0] is Action.DENY
    assert tables.decide(tcp("2001:db8:270f::1"))[0] is Action.ALLOW
    assert tables.decide(tcp("2001:db8:2710::1"))[0] is Action.DENY
    assert tables.decide(udp(hosts[-1], 443))[0] is Action.DENY
