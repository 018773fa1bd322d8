# SPDX-License-Identifier: MIT
"""The index in front of the reference never changes what the reference says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from itertools import product

import pytest

from leakstop.engine.judge import Judge, comparable
from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, Mode, Reason
from leakstop.policy.match import decide, is_sink
from leakstop.policy.rules import NamePlace, Policy, Reach, Rule
from story import allow, deny


def below(rule: Rule, name: str, reach: Reach) -> Rule:
    """The rule for names below ``name``."""
    return replace(rule, place=NamePlace(name, reach))


RULES = (
    allow("a.test"),
    allow("deep.a.test", 8443),
    below(allow("x"), "a.test", Reach.ONE),
    below(allow("x"), "b.test", Reach.DEEP),
    deny("bad.b.test"),
    deny("quiet.b.test", quiet=True),
    allow("198.51.100.0/24"),
    allow("198.51.100.7", 80),
    deny("198.51.100.66"),
    allow("2001:db8::/32"),
    allow("::ffff:203.0.113.0/120"),
    deny("127.0.0.2"),
)
PLACES = (
    ("", ("a.test",)),
    ("", ("quiet.b.test",)),
    ("", ("test",)),
    ("198.51.100.7", ()),
    ("198.51.100.66", ("a.test",)),
    ("203.0.113.9", ("deep.a.test", "x.y.b.test")),
    ("192.0.2.1", ("bad.b.test", "a.test")),
    ("192.0.2.1", ("quiet.b.test",)),
    ("192.0.2.1", ("x.a.test", "y.x.a.test")),
    ("2001:db8::1", ()),
    ("127.0.0.1", ("bad.b.test",)),
    ("127.0.0.2", ()),
    ("10.0.0.1", ()),
)


@pytest.mark.parametrize("mode", Mode)
def test_the_index_agrees_with_the_reference(mode: Mode) -> None:
    policy = Policy(mode=mode, rules=RULES, sinks=RULES[:4])
    local = (ip_network("10.0.0.0/8"),)
    judge = Judge(policy, local)
    seen = set()
    for (ip, names), port, transport in product(PLACES, (80, 443, 8443), Transport):
        flow = Flow(transport, port, ip, names)
        if transport is Transport.DNS and not names:
            continue
        verdict, opinion = decide(policy, flow, local=local), judge.explain(flow)
        assert (opinion.policy, opinion.rule) == (verdict.policy, verdict.rule), flow
        assert (opinion.quiet, opinion.sink) == (verdict.quiet, is_sink(policy, flow)), flow
        seen.add((opinion.policy, opinion.rule is None, opinion.quiet, opinion.sink))
    assert len(seen) >= 6, "the cases do not tell much"


def test_the_first_of_equally_narrow_rules_is_named() -> None:
    first, second = allow("a.test"), allow("a.test")
    second = replace(second, ref=replace(second.ref, line=6))
    flow = Flow(Transport.TCP, 443, "192.0.2.1", ("a.test",))
    # Far enough apart for a set of their numbers to lose the order.
    between = tuple(allow(f"n{number}.test") for number in range(6))
    for rules in ((first, second), (second, first), (deny("x.test"), second, *between, first)):
        assert (
            Judge(Policy(rules=rules), ()).explain(flow).rule
            == decide(Policy(rules=rules), flow).rule
        )


def test_a_flow_is_asked_about_once() -> None:
    judge = Judge(Policy(rules=RULES), ())
    flow = Flow(Transport.TCP, 443, "192.0.2.1", ("a.test",))
    assert judge.explain(flow) is judge.explain(replace(flow))
    assert judge.explain(flow).policy is Action.ALLOW


def test_only_verdicts_by_rules_can_be_compared() -> None:
    assert {reason for reason in Reason if not comparable(reason)} == {
        Reason.LOCAL,
        Reason.RESOLVER,
        Reason.UNPARSABLE,
        Reason.PROTOCOL,
        Reason.BUDGET,
    }
