# SPDX-License-Identifier: MIT
"""Secrets without a home: shown with the line that gives them one."""

from __future__ import annotations

import pytest

from leakstop.errors import ExitCode
from leakstop.model.finding import Severity
from leakstop.model.verdict import Carriage, Leak
from story import (
    NAMED,
    PASSED,
    REFUSED,
    Ends,
    Finds,
    FindsOnly,
    Kills,
    Lists,
    Story,
    allow,
    answers,
    asks,
    carrying,
    connects,
    guarded,
    secret,
    spawns,
)

HITS = carrying("DEPLOY_TOKEN")
IP = "198.51.100.7"


def job(**policy: object) -> Story:
    """curl has a deploy token and knows where deploy.test is."""
    return guarded(
        allow("api.test"),
        secrets=[secret("DEPLOY_TOKEN")],
        **policy,  # type: ignore[arg-type]
    ).sees(spawns(20, 1, "curl"), asks(20, "deploy.test", PASSED), answers("deploy.test", IP))


def test_towards_a_host_that_nobody_named_it_is_a_warning() -> None:
    told = job().sees(connects(20, IP, 443, PASSED, hits=HITS, carriage=Carriage.WARN))
    told.expects(
        Kills(),
        Finds("secret-unplaced", severity=Severity.MEDIUM, destination="deploy.test:443"),
        Lists("deploy.test:443", secrets=("DEPLOY_TOKEN",)),
        Ends(ExitCode.CLEAN),
    )
    assert told.report.findings[0].what_to_do == (
        "If DEPLOY_TOKEN belongs there, add to the policy: `secrets: {DEPLOY_TOKEN: deploy.test}`. "
        "If you do not know this destination, rotate DEPLOY_TOKEN now."
    )


def test_towards_a_host_that_a_rule_names_it_is_a_note() -> None:
    job().sees(
        answers("api.test", "198.51.100.8"),
        connects(20, "198.51.100.8", 443, NAMED, hits=HITS, carriage=Carriage.NOTE),
    ).expects(
        Finds("secret-unplaced", severity=Severity.INFO, destination="api.test:443"),
        Ends(ExitCode.CLEAN),
    )


def test_question_and_connect_are_one_finding_of_one_process() -> None:
    told = job()
    for _ in range(2):
        told.sees(
            asks(20, "deploy.test", PASSED, hits=HITS, carriage=Carriage.WARN),
            connects(20, IP, 443, PASSED, hits=HITS, carriage=Carriage.WARN),
        )
    told.sees(
        spawns(21, 1, "curl"),
        connects(21, IP, 443, PASSED, hits=HITS, carriage=Carriage.WARN),
    )
    told.expects(FindsOnly("secret-unplaced"), Finds("secret-unplaced", count=2))


def test_a_host_that_was_denied_anyway_got_nothing() -> None:
    job().sees(connects(20, IP, 443, REFUSED, hits=HITS, carriage=Carriage.WARN)).expects(
        Finds("secret-unplaced", bytes_left=0), Finds("denied-flow")
    )


@pytest.mark.parametrize(
    ("leak", "code"), [(Leak.KILL, ExitCode.FINDINGS), (Leak.WARN, ExitCode.CLEAN)]
)
def test_fail_on_medium(leak: Leak, code: ExitCode) -> None:
    job(leak=leak, fail_on=Severity.MEDIUM).sees(
        connects(20, IP, 443, PASSED, hits=HITS, carriage=Carriage.WARN)
    ).expects(Ends(code))


def test_a_place_that_no_line_can_name_gets_no_line() -> None:
    told = guarded(secrets=[secret("DEPLOY_TOKEN")]).sees(
        asks(20, "a b.test", PASSED, hits=HITS, carriage=Carriage.WARN)
    )
    assert "secrets:" not in told.report.findings[0].what_to_do


def test_a_placed_secret_on_its_way_home_is_nothing() -> None:
    job().sees(connects(20, IP, 443, NAMED, hits=HITS)).expects(FindsOnly())


def test_a_warning_does_not_count_as_a_note() -> None:
    told = job()
    for pid, carriage in ((30, Carriage.NOTE), (31, Carriage.WARN)):
        told.sees(
            spawns(pid, 1, "curl"), connects(pid, IP, 443, PASSED, hits=HITS, carriage=carriage)
        )
    told.expects(
        Finds("secret-unplaced", severity=Severity.MEDIUM, count=1),
        Finds("secret-unplaced", severity=Severity.INFO, count=1),
    )
