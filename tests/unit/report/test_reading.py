# SPDX-License-Identifier: MIT
"""A denied host is read by stated criteria, never by hope."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.model.flow import Stream, Transport
from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Reason, RuleRef
from leakstop.report.context import Context
from leakstop.report.headline import PLAIN
from leakstop.report.reading import Likely, read, same_domain
from unit.report import cases


def reading_of(flow: FlowRecord) -> tuple[Likely, str]:
    report = replace(cases.CLEAN_BLOCK, flows=(*cases.CLEAN_BLOCK.flows, flow))
    found = read(Context.of(report), (flow,), PLAIN)
    return found.likely, found.because


def test_a_neighbour_of_a_named_host_is_a_missing_line() -> None:
    likely, because = reading_of(cases.flow("uploads.example.test:443", denied=True))
    assert likely is Likely.MISSING_LINE
    assert "api.example.test" in because


@pytest.mark.parametrize(
    ("flow", "because"),
    [
        (cases.flow("uploads.other.test:443", denied=True), "names no other host of its domain"),
        (cases.flow(":443", denied=True, ip="203.0.113.9"), "bare address"),
        (cases.flow("up.example.test:443", denied=True, sink=True), "anyone can store data"),
        (cases.flow("up.example.test:443", step="", denied=True), "no step of the workflow"),
        (
            cases.flow("up.example.test:443", cases.process(""), denied=True),
            "the program is not known",
        ),
        (
            cases.flow("up.example.test:443", denied=True, reason=Reason.UNPARSABLE),
            "could not be read",
        ),
        (
            cases.flow("up.example.test:443", denied=True, only_for="step `Go` (ci.yml:8)"),
            "the policy allows it only for step `Go` (ci.yml:8)",
        ),
    ],
)
def test_anything_against_it_is_an_attack(flow: FlowRecord, because: str) -> None:
    likely, said = reading_of(flow)
    assert likely is Likely.ATTACK
    assert because in said


def test_docker_asks_for_a_step_and_belongs_to_none() -> None:
    daemon, others = cases.process("/usr/bin/dockerd"), "step `Go` (ci.yml:8)"
    flow = cases.flow("cr.other.test:443", daemon, step="", denied=True, only_for=others)
    likely, because = reading_of(flow)
    assert likely is Likely.MISSING_LINE
    assert because.startswith("the policy allows it only for step `Go` (ci.yml:8), and what Docker")
    _, because = reading_of(replace(flow, only_for=""))
    assert "no step of the workflow" not in because


@pytest.mark.parametrize(
    ("flow", "because"),
    list(
        zip(
            cases.STRANGE_FLOWS,
            (
                "the connection went to api.example.test:443",
                "it is TLS that shows no name",
                "it hides its name (ECH)",
                "the policy already names api.example.test of the same domain",
                "the packet went past the sockets",
                "it answers a connection that came in",
                "the policy names no other host",
                "more names below *.pages.test were asked for than its rule allows",
            ),
            strict=True,
        )
    ),
)
def test_what_is_odd_is_said(flow: FlowRecord, because: str) -> None:
    likely, said = reading_of(flow)
    assert because in said
    assert "could not be read" not in said
    assert likely is (Likely.MISSING_LINE if "already names" in because else Likely.ATTACK)


@pytest.mark.parametrize(
    ("flow", "because"),
    list(zip(cases.SOCKET_FLOWS, ("could not be judged", "source routing"), strict=True)),
)
def test_what_has_no_destination_is_no_bare_address(flow: FlowRecord, because: str) -> None:
    likely, said = reading_of(flow)
    assert likely is Likely.ATTACK
    assert because in said
    assert "bare address" not in said
    assert "connection" not in said


def test_a_question_may_be_odd_or_unreadable() -> None:
    asked = cases.flow("a.test", protocol=Transport.DNS, denied=True, ip="", reason=Reason.PROTOCOL)
    assert "ordinary programs do not ask for such records" in reading_of(asked)[1]
    bad = replace(asked, host="", what="a DNS question without a name", reason=Reason.UNPARSABLE)
    assert "it could not be read" in reading_of(bad)[1]
    assert "bare address" not in reading_of(bad)[1]


def test_a_rule_that_forbids_is_no_attack() -> None:
    rule = RuleRef("x.test", "p.yml", 3)
    flow = cases.flow("x.test:443", denied=True, rule=rule, reason=Reason.DENY_RULE)
    assert reading_of(flow) == (Likely.FORBIDDEN, "the rule x.test (p.yml:3) denies it")


def test_the_same_step_as_a_leak_is_an_attack() -> None:
    flow = cases.flow("up.example.test:443", cases.CURL, "Collect metrics", denied=True)
    report = replace(cases.STOPPED, flows=(*cases.STOPPED.flows, flow))
    found = read(Context.of(report), (flow,), PLAIN)
    assert found.likely is Likely.ATTACK
    assert "a secret was on its way out in the same step" in found.because


def test_the_same_step_as_an_attack_on_the_guard_is_an_attack() -> None:
    report = cases.DETACHED
    for step, likely in (("Test", Likely.ATTACK), ("Publish", Likely.MISSING_LINE)):
        flow = replace(report.flows[-1], step=step)
        found = read(Context.of(replace(report, flows=(*report.flows, flow))), (flow,), PLAIN)
        assert found.likely is likely
        assert ("laid hands on the guard" in found.because) == (likely is Likely.ATTACK)


def test_the_words_of_the_log() -> None:
    asked = cases.flow("a.test", protocol=Transport.DNS, denied=True)
    tried = cases.flow("a.test:443", denied=True)
    cut = cases.flow("a.test:443", denied=True, stream=Stream.TLS, shown="a.test")
    readings = [read(Context.of(cases.CLEAN), (flow,), PLAIN) for flow in (asked, tried, cut)]
    assert [(reading.log_phrase, reading.unsent) for reading in readings] == [
        ("Could not resolve host", "Nothing was"),
        ("Operation not permitted", "Nothing was"),
        ("Software caused connection abort", "No data was"),
    ]


@pytest.mark.parametrize(
    ("host", "other", "expected"),
    [
        ("a.example.test", "b.example.test", True),
        ("example.test", "b.example.test", True),
        ("a.example.test", "example.test", True),
        ("a.b.example.test", "b.example.test", True),
        ("a.test", "b.test", False),
        ("a.co.uk", "b.co.uk", False),
        ("x.a.co.uk", "y.a.co.uk", True),
        ("a.example.test", "", False),
        ("", "a.example.test", False),
        ("a.one.test", "a.two.test", False),
    ],
)
def test_same_domain(host: str, other: str, expected: bool) -> None:
    assert same_domain(host, other) is expected
