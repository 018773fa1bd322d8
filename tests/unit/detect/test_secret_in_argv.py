# SPDX-License-Identifier: MIT
"""A leak by command line: true positives, and what only looks like one."""

from __future__ import annotations

import pytest

from leakstop.model.verdict import Carriage, Leak
from story import (
    LEAKING,
    NAMED,
    PASSED,
    REFUSED,
    Finds,
    FindsOnly,
    Story,
    allow,
    asks,
    carrying,
    connects,
    execs,
    fork,
    guarded,
    home,
    secret,
    spawns,
)

BASH, CURL = 10, 20
HITS = carrying("NPM_TOKEN", encoding="base64")


def job(leak: Leak = Leak.KILL) -> Story:
    """A shell that has started curl."""
    return guarded(
        allow("api.test"),
        leak=leak,
        homes={"NPM_TOKEN": home(allow("registry.test"))},
        secrets=[secret("NPM_TOKEN", revoke="https://registry.test/tokens")],
    ).sees(spawns(BASH, 1, "bash"), spawns(CURL, BASH, "curl"))


def test_the_finding_says_what_to_do() -> None:
    told = job().sees(asks(CURL, "collector.test", LEAKING, hits=HITS))
    told.expects(Finds("secret-in-argv", encoding="base64"))
    assert told.report.findings[0].what_to_do == (
        "Do not re-run. If you do not know this step, somebody else wrote it: revert the change "
        "that brought it; rotate NPM_TOKEN (https://registry.test/tokens). If it was you, say "
        "that this is its home: `secrets: {NPM_TOKEN: [registry.test, collector.test]}`."
    )


@pytest.mark.parametrize(("leak", "failing"), [(Leak.FAIL, True), (Leak.WARN, False)])
def test_a_leak_that_was_let_go(leak: Leak, failing: bool) -> None:
    job(leak).sees(
        connects(CURL, "203.0.113.9", 443, PASSED, hits=HITS, carriage=Carriage.FAIL)
    ).expects(Finds("secret-in-argv", failing=failing, bytes_left=None))


def test_a_process_that_is_let_go_may_reach_several_places() -> None:
    told = job(Leak.FAIL)
    for ip in ("203.0.113.9", "203.0.113.10", "203.0.113.9"):
        told.sees(connects(CURL, ip, 443, PASSED, hits=HITS, carriage=Carriage.FAIL))
    told.expects(
        FindsOnly("secret-in-argv", "secret-in-argv"),
        Finds("secret-in-argv", destination="203.0.113.9:443", count=1),
        Finds("secret-in-argv", destination="203.0.113.10:443", count=1),
    )


def test_two_secrets_are_two_findings() -> None:
    job().sees(
        asks(CURL, "collector.test", LEAKING, hits=carrying("NPM_TOKEN", "DEPLOY_TOKEN"))
    ).expects(
        Finds("secret-in-argv", secret="NPM_TOKEN"), Finds("secret-in-argv", secret="DEPLOY_TOKEN")
    )


def test_two_programs_are_two_findings() -> None:
    job().sees(
        spawns(30, BASH, "wget"),
        asks(CURL, "collector.test", LEAKING, hits=HITS),
        asks(30, "collector.test", LEAKING, hits=HITS),
    ).expects(FindsOnly("secret-in-argv", "secret-in-argv"))


@pytest.mark.parametrize("carriage", [Carriage.NONE, Carriage.NOTE, Carriage.WARN])
def test_a_secret_that_is_no_leak_is_not_reported_as_one(carriage: Carriage) -> None:
    told = job().sees(connects(CURL, "203.0.113.9", 443, NAMED, hits=HITS, carriage=carriage))
    assert "secret-in-argv" not in {finding.id for finding in told.report.findings}


def test_a_secret_in_the_name_is_another_finding() -> None:
    job().sees(
        asks(CURL, "***npm_token***.collector.test", LEAKING, hits=HITS, in_name=True)
    ).expects(FindsOnly("secret-in-dns"))


def test_a_killed_process_was_going_to_one_place() -> None:
    # It may still ask for more names before the signal arrives.
    job().sees(
        asks(CURL, "collector.test.corp.test", LEAKING, hits=HITS),
        asks(CURL, "collector.test", LEAKING, hits=HITS),
        connects(CURL, "203.0.113.9", 80, LEAKING, hits=HITS),
    ).expects(
        FindsOnly("secret-in-argv"),
        Finds("secret-in-argv", destination="collector.test.corp.test", count=1),
    )


def test_the_next_process_with_the_same_pid_counts_again() -> None:
    told = job()
    for start_ns in (1_000_000_000, 2_000_000_000):
        told.sees(
            fork(CURL, BASH, start_ns=start_ns),
            execs(CURL, "curl", start_ns=start_ns),
            asks(CURL, "collector.test", LEAKING, hits=HITS),
        )
    told.expects(Finds("secret-in-argv", count=2))


def test_what_was_stopped_and_what_was_not_are_two_findings() -> None:
    told = job(Leak.FAIL)
    for pid, verdict in ((30, REFUSED), (31, PASSED)):
        told.sees(
            spawns(pid, BASH, "curl"),
            connects(pid, "203.0.113.9", 443, verdict, hits=HITS, carriage=Carriage.FAIL),
        )
    told.expects(Finds("secret-in-argv", bytes_left=0), Finds("secret-in-argv", bytes_left=None))
