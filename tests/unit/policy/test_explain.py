# SPDX-License-Identifier: MIT
"""Explanations, word for word."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from leakstop.model.flow import Flow, Transport, Who
from leakstop.model.verdict import Mode, RuleRef
from leakstop.policy.explain import (
    describe_flow,
    describe_place,
    describe_rule,
    describe_scope,
    describe_use,
    explain,
)
from leakstop.policy.rules import Policy, Protocol, Rule
from leakstop.policy.scopes import Scope
from unit.policy.rulebook import allow, deny, home, icmp, lookup, other, place, tcp, udp


def told(policy: Policy, flow: Flow) -> list[str]:
    return str(explain(policy, flow)).splitlines()


def test_an_allow() -> None:
    rule = replace(allow("*.example.test", line=5), why="uploads of coverage")
    policy = Policy(
        rules=(rule,),
        homes={"ONE": home(allow("**.test")), "TWO": home(allow("a.example.test")), "KEY": home()},
    )
    assert told(policy, tcp("a.example.test")) == [
        "a.example.test:443 (TCP): allowed by a rule",
        (
            "  rule: `*.example.test` (policy.yml:5) covers any name one level below example.test,"
            " TLS on TCP port 443"
        ),
        "  why: uploads of coverage",
        "  secrets: ONE, TWO may go there, and no other",
    ]


def test_a_deny_of_everything() -> None:
    policy = Policy(
        rules=(deny("**.paste.test", line=7), allow("*.paste.test")),
        sinks=(deny("**.paste.test"),),
    )
    assert told(policy, tcp("x.paste.test")) == [
        "x.paste.test:443 (TCP): denied by a rule",
        (
            "  rule: `**.paste.test` (policy.yml:7) covers any name one or more levels below"
            " paste.test, every protocol and port"
        ),
        "  sink: anyone can store data there",
        "  secrets: none belongs there",
    ]


def test_a_quiet_deny() -> None:
    policy = Policy(rules=(deny("usage.test", quiet=True),))
    assert told(policy, tcp("usage.test"))[0] == (
        "usage.test:443 (TCP): denied by a rule, and never red"
    )


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        (Mode.BLOCK, "not named by any rule, so denied in block mode"),
        (Mode.AUDIT, "not named by any rule, so let through and listed in audit mode"),
    ],
)
def test_what_no_rule_names(mode: Mode, outcome: str) -> None:
    assert told(Policy(mode=mode), tcp("192.0.2.1", 8443)) == [
        f"192.0.2.1:8443 (TCP): {outcome}",
        "  secrets: none belongs there",
    ]


def test_the_other_port_of_a_host_that_a_rule_names() -> None:
    policy = Policy(mode=Mode.BLOCK, rules=(allow("a.test", line=2),))
    assert told(policy, tcp("a.test", 8443)) == [
        "a.test:8443 (TCP): not named by any rule, so denied in block mode",
        "  near: `a.test` (policy.yml:2) covers it for TLS on TCP port 443 only",
        "  lookup: the question for its name is answered",
        "  secrets: none belongs there",
    ]


@pytest.mark.parametrize(
    ("written", "asked", "near"),
    [
        ("*.b.test", "c.a.b.test", "covers one level only; `**.b.test` would cover it"),
        ("*.b.test", "b.test", "covers names below b.test, not b.test itself"),
        ("**.b.test", "b.test", "covers names below b.test, not b.test itself"),
        ("b.test", "a.b.test", "covers b.test alone, no name below it"),
    ],
)
def test_a_name_that_misses_by_a_label(written: str, asked: str, near: str) -> None:
    policy = Policy(rules=(allow(written, line=2),))
    for flow in (tcp(asked), lookup(asked)):
        assert explain(policy, flow).near == (f"`{written}` (policy.yml:2) {near}",)


def test_other_domains_and_denials_are_not_near() -> None:
    policy = Policy(rules=(allow("ab.test"), allow("b.example"), deny("x.b.test")))
    assert explain(policy, tcp("b.test")).near == ()


def test_a_scoped_rule_says_whom_it_is_for() -> None:
    rule = replace(allow("a.test", line=2), scope=Scope(step=("Publish", "Up*")))
    policy = Policy(mode=Mode.BLOCK, rules=(rule,))
    mine = replace(tcp("a.test"), who=Who(("Publish",)))
    assert explain(policy, mine).rule is rule
    assert describe_rule(rule) == (
        "`a.test` (policy.yml:2) covers the name a.test alone, TLS on TCP port 443, "
        "for step `Publish` or `Up*` alone"
    )
    assert explain(policy, tcp("a.test")).near == (
        "`a.test` (policy.yml:2) covers it for step `Publish` or `Up*` only",
    )
    assert explain(policy, replace(mine, port=80)).near == (
        "`a.test` (policy.yml:2) covers it for TLS on TCP port 443 only",
    )


@pytest.mark.parametrize(
    ("scope", "shown"),
    [
        (Scope(), "everybody"),
        (Scope(runner=True), "the runner itself"),
        (Scope(process=("/usr/bin/curl",)), "process `/usr/bin/curl`"),
        (
            Scope(("Publish",), ("curl",), ("alpine*",)),
            "process `curl` in container `alpine*` in step `Publish`",
        ),
    ],
)
def test_scopes_in_words(scope: Scope, shown: str) -> None:
    assert describe_scope(scope) == shown


def test_only_a_few_near_rules_are_told_and_none_beside_a_rule_that_decided() -> None:
    policy = Policy(rules=tuple(allow("a.test", (port, port)) for port in range(1, 9)))
    assert len(explain(policy, tcp("a.test", 9)).near) == 3
    assert explain(policy, tcp("a.test", 8)).near == ()


def test_a_deny_of_a_port_leaves_the_lookup() -> None:
    rules = (allow("a.test"), deny("a.test", (443, 443), protocol=Protocol.TCP, line=3))
    assert told(Policy(rules=rules), tcp("a.test")) == [
        "a.test:443 (TCP): denied by a rule",
        "  rule: `a.test` (policy.yml:3) covers the name a.test alone, TCP port 443",
        "  lookup: the question for its name is answered",
        "  secrets: none belongs there",
    ]


def test_a_lookup() -> None:
    policy = Policy(rules=(allow("a.test", protocol=Protocol.DNS),))
    assert told(policy, lookup("a.test")) == [
        "the lookup of a.test: allowed by a rule",
        "  rule: `a.test` (policy.yml) covers the name a.test alone, its lookup",
        "  secrets: none belongs there",
    ]


def test_this_machine() -> None:
    explanation = explain(Policy(), tcp("172.18.0.2", 5432), local=[ip_network("172.18.0.0/16")])
    assert str(explanation).startswith("172.18.0.2:5432 (TCP): allowed, it stays on this machine")
    assert explanation.near == ()


def test_a_rule_of_a_preset_says_which() -> None:
    rule = replace(allow("a.test"), ref=RuleRef("a.test", "built in", 9, "python"))
    assert "`a.test` (built in:9, from `python`)" in str(
        explain(Policy(rules=(rule,)), tcp("a.test"))
    )


def test_a_policy_cannot_steer_the_terminal() -> None:
    rule = replace(allow("a.test"), why="fine\x1b[2J\n  secrets: all\u2028\u202e")
    lines = str(explain(Policy(rules=(rule,)), tcp("a.test"))).split("\n")
    assert lines[2:] == [
        r"  why: fine\x1b[2J\n  secrets: all\u2028\u202e",
        "  secrets: none belongs there",
    ]


@pytest.mark.parametrize(
    ("flow", "shown"),
    [
        (tcp("a.test"), "a.test:443 (TCP)"),
        (udp("192.0.2.53", 53), "192.0.2.53:53 (UDP)"),
        (tcp("2001:db8::1", 80), "[2001:db8::1]:80 (TCP)"),
        (tcp("192.0.2.1", 443, "a.test", "b.test"), "a.test:443 (TCP)"),
        (icmp("2001:db8::1"), "2001:db8::1 (ICMP)"),
        (other("192.0.2.1"), "192.0.2.1 (other protocols)"),
        (lookup("a.test"), "the lookup of a.test"),
        (Flow(Transport.DNS), "the lookup of "),
    ],
)
def test_flows_in_words(flow: Flow, shown: str) -> None:
    assert describe_flow(flow) == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a.test", "the name a.test alone"),
        ("*.a.test", "any name one level below a.test"),
        ("**.a.test", "any name one or more levels below a.test"),
        ("192.0.2.1", "the address 192.0.2.1"),
        ("2001:db8::/32", "any address in 2001:db8::/32"),
    ],
)
def test_places_in_words(written: str, shown: str) -> None:
    assert describe_place(place(written)) == shown


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (allow("a.test"), "TLS on TCP port 443"),
        (allow("a.test", (80, 80), (8000, 8010)), "TLS on TCP ports 80, 8000-8010"),
        (allow("a.test", (1, 9), protocol=Protocol.UDP), "UDP ports 1-9"),
        (allow("a.test", protocol=Protocol.ICMP), "ICMP echo"),
        (allow("a.test", protocol=Protocol.DNS), "its lookup"),
        (deny("a.test"), "every protocol and port"),
    ],
)
def test_uses_in_words(rule: Rule, shown: str) -> None:
    assert describe_use(rule) == shown
