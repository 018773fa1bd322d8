# SPDX-License-Identifier: MIT
"""Names of patterns are rationed, and the narrowest pattern pays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.budgets import NAMES, Budget, budgets
from leakstop.policy.canonical import from_canonical, to_canonical, with_digest
from leakstop.policy.rules import NamePlace, Policy, PortRange, Protocol, Reach, Rule
from leakstop.policy.tables import Tables, compile_tables

HTTPS = (PortRange(443, 443),)


def rule(text: str, names: int = 0, action: Action = Action.ALLOW) -> Rule:
    reach = {"**": Reach.DEEP, "*": Reach.ONE}.get(text.partition(".")[0], Reach.EXACT)
    place = NamePlace(text.lstrip("*."), reach)
    return Rule(action, place, Protocol.TLS, HTTPS, RuleRef(text, "p.yml", 1), names=names)


def payer(tables: Tables, name: str) -> str:
    """Which pattern pays for ``name``, by the first of its places; empty if none."""
    node, single = tables.find_name(name)
    number = node.one_budget if single else node.deep_budget
    return str(tables.budgets[number - 1].places[0]) if number else ""


def test_the_most_generous_rule_for_a_wildcard_counts() -> None:
    rules = [rule("*.a.test"), rule("*.a.test", 7), rule("*.a.test", 5), rule("**.a.test")]
    one, deep = budgets([*rules, rule("a.test"), rule("*.b.test", action=Action.DENY)])
    assert one == Budget((NamePlace("a.test", Reach.ONE),), 7)
    assert deep == Budget((NamePlace("a.test", Reach.DEEP),), NAMES)


@pytest.mark.parametrize(("names", "size"), [(1, 4096), (50, 4100), (100, 8200)])
def test_bytes_grow_with_the_names(names: int, size: int) -> None:
    assert Budget((NamePlace("a.test", Reach.ONE),), names).bytes == size


def test_the_narrowest_wildcard_pays() -> None:
    rules = ("**.test.zone", "*.a.test.zone", "**.b.test.zone", "own.a.test.zone")
    denied = rule("shut.a.test.zone", action=Action.DENY)
    tables = compile_tables(Policy(rules=(*map(rule, rules), denied)))
    assert {
        name: payer(tables, f"{name}.test.zone")
        for name in ("x", "x.a", "own.a", "shut.a", "y.x.a", "x.b", "y.x.b", "c")
    } == {
        "x": "**.test.zone",
        "c": "**.test.zone",
        "x.a": "*.a.test.zone",
        "own.a": "",
        "shut.a": "*.a.test.zone",
        "y.x.a": "**.test.zone",
        "x.b": "**.b.test.zone",
        "y.x.b": "**.b.test.zone",
    }
    assert payer(tables, "elsewhere.test") == ""


def numbered(text: str, first: int, last: int, names: int) -> list[Rule]:
    """The rules of one text of numbered names."""
    ref = RuleRef(text, "p.yml", 1)
    return [replace(rule(f"s{n}.a.test", names), ref=ref) for n in range(first, last + 1)]


def test_numbered_names_share_one_ration_where_a_rule_says_so() -> None:
    rules = numbered("s{0..3}.a.test", 0, 3, 2)
    (shared,) = budgets(rules)
    assert [str(place) for place in shared.places] == [f"s{n}.a.test" for n in range(4)]
    assert shared.names == 2
    assert budgets(numbered("s{0..3}.a.test", 0, 3, 0)) == ()


def test_a_numbered_name_pays_unless_another_rule_allows_it_freely() -> None:
    rules = numbered("s{0..3}.a.test", 0, 3, 2)
    tables = compile_tables(Policy(rules=(*rules, rule("*.a.test"), rule("s2.a.test"))))
    assert {name: payer(tables, f"{name}.a.test") for name in ("s0", "s1", "s2", "s3", "s4")} == {
        "s0": "s0.a.test",
        "s1": "s0.a.test",
        "s2": "",
        "s3": "s0.a.test",
        "s4": "*.a.test",
    }
    assert all(tables.find_name(f"s{n}.a.test")[0].own for n in range(4))


def test_of_two_rations_for_numbered_names_the_most_generous_pays() -> None:
    few, many = numbered("s{0..3}.a.test", 0, 3, 2), numbered("s{1..2}.a.test", 1, 2, 9)
    tables = compile_tables(Policy(rules=(*many, *few)))
    assert [payer(tables, f"s{n}.a.test") for n in range(4)] == [
        "s0.a.test",
        "s1.a.test",
        "s1.a.test",
        "s0.a.test",
    ]


def test_a_compiled_policy_keeps_it() -> None:
    policy = with_digest(Policy(rules=(rule("*.a.test", 7), rule("*.b.test"))))
    assert from_canonical(to_canonical(policy)) == policy
    assert with_digest(replace(policy, rules=(rule("*.a.test"),))).digest != policy.digest
