# SPDX-License-Identifier: MIT
"""Each report opens with the right word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.model.report import FlowRecord, Report
from leakstop.model.verdict import Action, Reason
from leakstop.report.facts import State, by_host, facts_of, plural
from leakstop.report.headline import MARKDOWN, PLAIN, amount_left, headline
from unit.report import cases

DENY = Action.DENY


@pytest.mark.parametrize(
    ("report", "state"),
    [
        (cases.CLEAN, State.WATCHED),
        (cases.CLEAN_BLOCK, State.PROTECTED),
        (cases.UNNAMED, State.WATCHED),
        (cases.STOPPED, State.STOPPED),
        (cases.LEAKED, State.LEAKED),
        (cases.DENIED, State.DENIED),
        (cases.PARTLY, State.PARTLY_WATCHED),
        (cases.DIED, State.NOT_PROTECTED),
        (cases.LOST, State.NOT_PROTECTED),
        (replace(cases.DIED, findings=cases.STOPPED.findings), State.STOPPED),
        (replace(cases.DENIED, coverage=cases.PARTLY.coverage), State.DENIED),
    ],
)
def test_the_state_is_the_worst_there_is(report: Report, state: State) -> None:
    facts = facts_of(report)
    assert facts.state is state
    assert headline(report, facts, PLAIN).status.startswith(state.value)


@pytest.mark.parametrize("name", cases.CASES)
def test_only_clean_runs_are_clean(name: str) -> None:
    assert facts_of(cases.CASES[name]).clean is name.startswith(("clean", "opaque"))


@pytest.mark.parametrize("name", cases.CASES)
def test_the_status_says_the_same_in_every_dress(name: str) -> None:
    report = cases.CASES[name]
    facts = facts_of(report)
    dressed = headline(report, facts, MARKDOWN)
    plain = headline(report, facts, PLAIN)
    assert dressed.status.replace("*", "").replace("`", "") == plain.status
    assert dressed.title.replace("`", "") == plain.title


def test_what_stays_on_the_machine_is_no_host() -> None:
    flows = (
        cases.flow("localhost:80", reason=Reason.LOCAL),
        cases.flow("resolver.test:53", reason=Reason.RESOLVER),
    )
    assert facts_of(replace(cases.CLEAN, flows=flows)).hosts == 0


def test_a_raw_socket_is_no_host() -> None:
    for report, title in (
        (cases.SOCKET, "a raw socket was refused"),
        (cases.SOCKETS, "one host was denied"),
        (cases.SOCKETS_AUDIT, "a raw socket and a socket option to look at"),
    ):
        head = headline(report, facts_of(report), PLAIN)
        assert head.title.endswith(f": {title}")
    assert (
        "1 of 10 hosts denied (1 try)"
        in headline(cases.SOCKETS, facts_of(cases.SOCKETS), PLAIN).status
    )


def test_a_denial_without_a_flow_is_still_told() -> None:
    facts = facts_of(replace(cases.DENIED, flows=()))
    assert [finding.id for finding in facts.others] == ["denied-flow"]


def test_many_secrets_are_counted() -> None:
    findings = tuple(replace(cases.LEAK_FINDING, secret=f"S{n}") for n in range(9))
    report = replace(cases.STOPPED, findings=findings)
    head = headline(report, facts_of(report), PLAIN)
    assert head.title == "Leakstop · release: 9 secrets were stopped on their way out"
    assert "0 of 360 bytes of S0, S1, S2, S3 and 5 more left" in head.status


@pytest.mark.parametrize(
    ("size", "left", "words"),
    [
        (40, 0, "0 of 40 bytes"),
        (0, 0, "0 bytes"),
        (40, None, "up to 40 of 40 bytes"),
        (40, 12, "up to 12 of 40 bytes"),
        (0, 12, "up to 12 bytes"),
        (0, None, "up to the whole"),
    ],
)
def test_the_amount_is_exact(size: int, left: int | None, words: str) -> None:
    finding = replace(cases.LEAK_FINDING, size=size, bytes_left=left)
    assert amount_left([finding]) == words
    stopped = replace(finding, secret="OTHER", size=2, bytes_left=0)
    assert amount_left([finding, finding]) == words, "the same secret counts once"
    if size and left is not None:
        assert amount_left([finding, stopped]) == words.replace(" 40 ", " 42 ")


@pytest.mark.parametrize(
    ("flows", "words"),
    [
        ((), "no encrypted connection"),
        ((cases.flow("a.test:443"),), "1 encrypted connection, inspected"),
        ((cases.flow("a.test:443", count=3),), "3 encrypted connections, all inspected"),
        (
            (cases.flow("a.test:443", count=3, inspected=1),),
            "3 encrypted connections, 2 not inspected",
        ),
        ((cases.flow("a.test:80"),), "no encrypted connection"),
    ],
)
def test_what_was_not_inspected_is_in_the_first_line(
    flows: tuple[FlowRecord, ...], words: str
) -> None:
    for report in (cases.CLEAN, cases.STOPPED, cases.LEAKED, cases.DENIED):
        changed = replace(report, flows=(*flows, *(f for f in report.flows if f.applied is DENY)))
        assert words in headline(changed, facts_of(changed), PLAIN).status


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 tries"), (1, "1 try"), (1234, "1,234 tries")]
)
def test_plural(count: int, expected: str) -> None:
    assert plural(count, "try", "tries") == expected


def test_flows_stand_by_step_and_command_and_those_of_no_step_last() -> None:
    egress = facts_of(cases.CASES["stepwise"]).egress
    assert [(flow.step, flow.process.command) for flow in egress[:7]] == [
        ("Checkout", "git"),
        ("Install", "pip"),
        ("Install", "pip"),
        ("Install", "updater"),
        ("Test", "curl"),
        ("Build docs", "curl"),
        ("Publish (?)", "curl"),
    ]
    assert {flow.step for flow in egress[7:]} == {""}


def test_findings_stand_by_step_where_they_are_as_bad() -> None:
    others = facts_of(cases.CASES["stepwise"]).others
    assert [finding.step for finding in others] == ["Install", "Build docs", ""]


def test_the_first_try_for_a_host_comes_first() -> None:
    late, early = cases.flow("x.test:443", minute=5), cases.flow("x.test:443", step="", minute=2)
    (group,) = by_host((late, early)).values()
    assert group == (early, late)
