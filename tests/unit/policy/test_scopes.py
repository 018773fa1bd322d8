# SPDX-License-Identifier: MIT
"""Whom a rule is for, and what becomes of those of whom that is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.model.flow import Flow, Stream, Who
from leakstop.model.verdict import Action, Reason
from leakstop.policy.match import at_home, decide, for_others, judge
from leakstop.policy.rules import Policy, Protocol, Rule
from leakstop.policy.scopes import EVERYBODY, Scope, Scopes, written
from leakstop.policy.tables import compile_tables
from unit.policy.rulebook import allow, deny, home, lookup, tcp

PUBLISH = Who(("Publish", "publish-step", "acme/publish-action"))
BUILD = Who(("Build", "build"))
CURL = Who(process="/usr/bin/curl")
IN_ALPINE = Who(container=("alpine:3", "job-1"))
RUNNER = Who(runner=True)
UNKNOWN = Who(None, "", None)


def scoped(rule: Rule, **scope: tuple[str, ...]) -> Rule:
    return replace(rule, scope=Scope(**scope))  # type: ignore[arg-type]


def of(flow: Flow, who: Who) -> Flow:
    return replace(flow, who=who)


def reason(rules: list[Rule], flow: Flow) -> Reason:
    """The verdict's reason; the compiled tables must give the same."""
    policy = Policy(rules=tuple(rules))
    verdict = decide(policy, flow)
    assert compile_tables(policy).decide(flow) == (verdict.policy, verdict.reason)
    return verdict.reason


@pytest.mark.parametrize(
    ("scope", "who", "covered"),
    [
        (Scope(), UNKNOWN, True),
        (Scope(step=("Publish",)), PUBLISH, True),
        (Scope(step=("publish-step",)), PUBLISH, True),
        (Scope(step=("acme/publish-action",)), PUBLISH, True),
        (Scope(step=("Build", "Publish")), PUBLISH, True),
        (Scope(step=("Publish",)), BUILD, False),
        (Scope(step=("publish",)), PUBLISH, False),
        (Scope(step=("Pub*",)), PUBLISH, True),
        (Scope(step=("Publis?",)), PUBLISH, True),
        (Scope(step=("*",)), PUBLISH, True),
        (Scope(step=("*",)), Who(), False),
        (Scope(step=("*",)), RUNNER, False),
        (Scope(step=("Test [linux]",)), Who(("Test [linux]",)), True),
        (Scope(step=("Test [linux]",)), Who(("Test l",)), False),
        (Scope(step=("*[linux]",)), Who(("Test [linux]",)), True),
        (Scope(process=("/usr/bin/curl",)), CURL, True),
        (Scope(process=("curl",)), CURL, True),
        (Scope(process=("/usr/local/bin/curl",)), CURL, False),
        (Scope(process=("/usr/bin/curl",)), Who(), False),
        (Scope(container=("alpine:*",)), IN_ALPINE, True),
        (Scope(container=("job-1",)), IN_ALPINE, True),
        (Scope(container=("alpine",)), IN_ALPINE, False),
        (Scope(container=("*",)), Who(), False),
        (Scope(step=("Publish",), process=("curl",)), replace(PUBLISH, process="/bin/curl"), True),
        (Scope(step=("Publish",), process=("curl",)), PUBLISH, False),
        (Scope(runner=True), RUNNER, True),
        (Scope(runner=True), Who(), False),
        (Scope(runner=True), PUBLISH, False),
    ],
)
def test_whom_a_scope_covers(scope: Scope, who: Who, covered: bool) -> None:
    assert scope.covers(who) is covered
    assert scope.covers(who, unknown=True) is covered


@pytest.mark.parametrize(
    "scope",
    [
        Scope(step=("*",)),
        Scope(process=("curl",)),
        Scope(container=("*",)),
        Scope(runner=True),
    ],
)
def test_who_is_not_known_is_whatever_takes_rights_away(scope: Scope) -> None:
    assert not scope.covers(UNKNOWN)
    assert scope.covers(UNKNOWN, unknown=True)


def test_only_what_is_not_known_is_open() -> None:
    scope = Scope(step=("Publish",), process=("curl",))
    assert not scope.covers(replace(BUILD, process=""), unknown=True)
    assert scope.covers(replace(PUBLISH, process=""), unknown=True)


def test_a_scoped_allow_is_for_whom_it_names() -> None:
    rules = [scoped(allow("a.test"), step=("Publish",))]
    for flow in (tcp("a.test"), lookup("a.test")):
        assert reason(rules, of(flow, PUBLISH)) is Reason.ALLOW_RULE
        for other in (BUILD, Who(), RUNNER, UNKNOWN):
            assert reason(rules, of(flow, other)) is Reason.NOT_NAMED


def test_a_scoped_deny_is_for_whom_it_may_name() -> None:
    rules = [allow("a.test"), scoped(deny("a.test"), step=("Publish",))]
    for flow in (tcp("a.test"), lookup("a.test")):
        for denied in (PUBLISH, UNKNOWN):
            assert reason(rules, of(flow, denied)) is Reason.DENY_RULE
        for other in (BUILD, Who(), RUNNER):
            assert reason(rules, of(flow, other)) is Reason.ALLOW_RULE


def test_two_names_on_one_connection_need_rules_for_the_same() -> None:
    flow = replace(tcp("192.0.2.1", 443, "a.test"), stream=Stream.TLS, shown="b.test")
    mine = scoped(allow("b.test"), step=("Publish",))
    assert reason([allow("a.test"), mine], of(flow, PUBLISH)) is Reason.IDENTITY
    assert reason([allow("a.test"), mine], of(flow, BUILD)) is Reason.NOT_NAMED
    both = [scoped(allow("a.test"), step=("Publish",)), mine]
    assert reason(both, of(flow, PUBLISH)) is Reason.ALLOW_RULE
    assert reason(both, of(flow, BUILD)) is Reason.NOT_NAMED


def test_a_home_may_be_for_one_step() -> None:
    policy = Policy(homes={"TOKEN": home(scoped(allow("a.test"), step=("Publish",)))})
    tables = compile_tables(policy)
    for flow in (tcp("a.test"), lookup("a.test")):
        for who, there in ((PUBLISH, True), (BUILD, False), (UNKNOWN, False)):
            assert at_home(policy, "TOKEN", of(flow, who)) is there
            assert tables.at_home("TOKEN", of(flow, who)) is there


def test_the_rule_that_is_named_is_the_one_for_fewer() -> None:
    wide = deny("a.test", line=1)
    mine = scoped(deny("a.test", quiet=True, line=2), step=("Publish",))
    policy = Policy(rules=(wide, mine))
    assert judge(policy, of(tcp("a.test"), PUBLISH))[1] is mine
    assert judge(policy, of(tcp("a.test"), BUILD))[1] is wide


def test_a_rule_for_others_is_found() -> None:
    mine = scoped(allow("a.test", line=8), step=("Publish",))
    policy = Policy(rules=(allow("b.test"), mine))
    assert for_others(policy.rules, of(tcp("a.test"), BUILD)) is mine
    assert for_others(policy.rules, of(tcp("a.test", 80), BUILD)) is None
    assert for_others(policy.rules, of(tcp("c.test"), BUILD)) is None
    runners = replace(allow("a.test"), scope=Scope(runner=True))
    assert for_others([runners], of(tcp("a.test"), BUILD)) is None


def test_what_the_kernel_is_given() -> None:
    by_bit = (
        (EVERYBODY, False),
        (Scope(step=("Publish",)), False),
        (Scope(step=("Publish",)), True),
        (Scope(process=("curl", "/opt/x")), False),
        (Scope(container=("alpine*",)), True),
        (Scope(runner=True), False),
    )
    scopes = Scopes(by_bit)
    assert (scopes.any, scopes.any_step, scopes.any_container) == (True, True, True)
    assert scopes.of_step(("Publish",)) == 0b011111
    assert scopes.of_step(()) == 0b011001
    assert scopes.of_step((), runner=True) == 0b111001
    assert scopes.of_step(None) == 0b011101
    assert scopes.of_program("/") == 0b110111
    assert scopes.programs == {"curl": 0b001000, "/opt/x": 0b001000}
    assert scopes.of_container(()) == 0b101111
    assert scopes.of_container(None) == 0b111111
    assert scopes.nobody == 0b010101
    assert scopes.anyone == 0b101011
    assert not Scopes(((EVERYBODY, True),)).any


def test_rules_with_another_scope_are_another_condition() -> None:
    rules = (allow("a.test"), scoped(allow("b.test"), step=("Publish",)), allow("c.test"))
    assert len(compile_tables(Policy(rules=rules)).conditions) == 2


def test_a_resolver_is_one_for_everybody_or_none() -> None:
    rule = allow("192.0.2.53", (53, 53), protocol=Protocol.UDP)
    assert compile_tables(Policy(rules=(rule,))).resolvers == ("192.0.2.53",)
    mine = scoped(rule, step=("Publish",))
    assert compile_tables(Policy(rules=(mine,))).resolvers == ()


@pytest.mark.parametrize(
    ("scope", "parts"),
    [
        (EVERYBODY, []),
        (Scope(step=("Publish",)), ["step: Publish"]),
        (Scope(step=("Upload assets", "b")), ["step: [Upload assets, b]"]),
        (Scope(process=("/usr/bin/dockerd",)), ["process: /usr/bin/dockerd"]),
        (Scope(container=("*buildkit*",)), ['container: "*buildkit*"']),
        (Scope(step=('say "x": #1, é',)), ['step: "say \\"x\\": #1, é"']),
        (Scope(runner=True), []),
    ],
)
def test_a_scope_can_be_written_again(scope: Scope, parts: list[str]) -> None:
    assert list(written(scope)) == parts


def test_the_action_of_an_allow_is_kept_in_a_policy_in_audit_mode() -> None:
    rules = (scoped(allow("a.test"), step=("Publish",)),)
    verdict = decide(Policy(rules=rules), of(tcp("a.test"), BUILD))
    assert (verdict.policy, verdict.applied) == (Action.DENY, Action.ALLOW)
