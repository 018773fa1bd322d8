# SPDX-License-Identifier: MIT
"""Each report opens with the right word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.model.report import Report
from leakstop.model.verdict import Reason
from leakstop.report.facts import State, facts_of, plural
from leakstop.report.headline import MARKDOWN, PLAIN, headline
from unit.report import cases


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
    assert facts_of(cases.CASES[name]).clean is name.startswith("clean")


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
    assert "0 bytes of S0, S1, S2, S3 and 5 more left" in head.status


def test_known_bytes_are_said() -> None:
    report = replace(cases.LEAKED, findings=(replace(cases.LEAK_FINDING, bytes_left=40),))
    assert (
        "Leaked: up to 40 bytes of NPM_TOKEN left"
        in headline(report, facts_of(report), PLAIN).status
    )


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 tries"), (1, "1 try"), (1234, "1,234 tries")]
)
def test_plural(count: int, expected: str) -> None:
    assert plural(count, "try", "tries") == expected
