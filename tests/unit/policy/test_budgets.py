# SPDX-License-Identifier: MIT
"""Names below wildcards are rationed, and the narrowest wildcard pays."""

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
    """Which wildcard pays for ``name``; empty if none."""
    node, single = tables.find_name(name)
    number = node.one_budget if single else node.deep_budget
    return str(tables.budgets[number - 1].place) if number else ""


def test_the_most_generous_rule_for_a_wildcard_counts() -> None:
    rules = [rule("*.a.test"), rule("*.a.test", 7), rule("*.a.test", 5), rule("**.a.test")]
    one, deep = budgets([*rules, rule("a.test"), rule("*.b.test", action=Action.DENY)])
    assert one == Budget(NamePlace("a.test", Reach.ONE), 7)
    assert deep == Budget(NamePlace("a.test", Reach.DEEP), NAMES)


@pytest.mark.parametrize(("names", "size"), [(1, 4096), (50, 4100), (100, 8200)])
def test_bytes_grow_with_the_names(names: int, size: int) -> None:
    assert Budget(NamePlace("a.test", Reach.ONE), names).bytes == size


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


def test_a_compiled_policy_keeps_it() -> None:
    policy = with_digest(Policy(rules=(rule("*.a.test", 7), rule("*.b.test"))))
    assert from_canonical(to_canonical(policy)) == policy
    assert with_digest(replace(policy, rules=(rule("*.a.test"),))).digest != policy.digest
