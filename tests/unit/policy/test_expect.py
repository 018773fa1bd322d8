# SPDX-License-Identifier: MIT
"""Cases of ``expect``: those that hold, those that do not, and those that could not fail."""

from __future__ import annotations

import pytest

from leakstop.model.flow import Flow
from leakstop.model.verdict import Mode, RuleRef
from leakstop.policy.expect import Case, run
from leakstop.policy.rules import Policy
from unit.policy.rulebook import allow, deny, home, lookup, tcp

POLICY = Policy(
    mode=Mode.AUDIT,
    rules=(allow("api.test", line=4), deny("**.paste.test", line=5), allow("x.paste.test")),
    homes={"TOKEN": home(allow("api.test")), "KEY": home()},
)


def case(kind: str, flow: Flow, secret: str = "") -> Case:
    text = f"{{leak: {secret}, to: x}}" if secret else f"{kind}: x"
    return Case(kind, flow, secret, text, RuleRef(text, "policy.yml", 12))


@pytest.mark.parametrize(
    "holding",
    [
        case("allow", tcp("api.test")),
        case("allow", lookup("api.test")),
        case("allow", tcp("127.0.0.1", 5432)),
        case("deny", tcp("api.test", 80)),
        case("deny", tcp("other.test")),
        case("deny", tcp("x.paste.test")),
        case("leak", tcp("other.test"), "TOKEN"),
        case("leak", tcp("api.test", 80), "TOKEN"),
        case("leak", tcp("api.test"), "KEY"),
    ],
    ids=str,
)
def test_a_case_that_holds(holding: Case) -> None:
    assert run(POLICY, [holding]) == ()


@pytest.mark.parametrize(
    ("failing", "shown"),
    [
        (
            case("allow", tcp("api.test", 80)),
            "policy.yml:12: `allow: x` does not hold: api.test:80 (TCP) is not named",
        ),
        (
            case("allow", tcp("x.paste.test")),
            (
                "policy.yml:12: `allow: x` does not hold: x.paste.test:443 (TCP) is denied"
                " (policy.yml:5: `**.paste.test`)"
            ),
        ),
        (
            case("deny", tcp("api.test")),
            (
                "policy.yml:12: `deny: x` does not hold: api.test:443 (TCP) is allowed"
                " (policy.yml:4: `api.test`)"
            ),
        ),
        (
            case("deny", tcp("::1", 80)),
            "policy.yml:12: `deny: x` does not hold: [::1]:80 (TCP) stays on this machine",
        ),
        (
            case("leak", tcp("api.test"), "TOKEN"),
            (
                "policy.yml:12: `{leak: TOKEN, to: x}` does not hold: "
                "api.test:443 (TCP) is where `TOKEN` belongs"
            ),
        ),
    ],
)
def test_a_case_that_does_not_hold_says_what_the_policy_says(failing: Case, shown: str) -> None:
    assert [str(failure) for failure in run(POLICY, [failing])] == [shown]


def test_a_leak_of_a_secret_without_a_home_is_no_case() -> None:
    failures = run(POLICY, [case("leak", tcp("other.test"), "TOKNE")])
    assert [failure.what for failure in failures] == ["`TOKNE` has no home in this policy"]


def test_the_text_of_a_case_cannot_steer_the_terminal() -> None:
    hostile = Case("allow", tcp("a.test"), "", "allow: \x1b]0;x\x07", RuleRef("", "p\r.yml", 1))
    (failure,) = run(POLICY, [hostile])
    assert str(failure).startswith(r"p\r.yml:1: `allow: \x1b]0;x\x07` does not hold: a.test")


@pytest.mark.parametrize("mode", Mode)
def test_the_mode_changes_no_outcome(mode: Mode) -> None:
    policy = Policy(mode=mode)
    assert run(policy, [case("deny", tcp("a.test"))]) == ()
    assert len(run(policy, [case("allow", tcp("a.test"))])) == 1


def test_all_failures_are_told_in_the_order_of_their_cases() -> None:
    cases = [case("allow", tcp(name)) for name in ("c.test", "api.test", "a.test", "b.test")]
    failures = run(POLICY, iter(cases))
    assert [failure.case for failure in failures] == [cases[0], cases[2], cases[3]]
