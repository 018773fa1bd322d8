# SPDX-License-Identifier: MIT
"""Secrets in names: every one a leak, a stream of them one finding."""

from __future__ import annotations

import pytest

from leakstop.errors import ExitCode
from leakstop.model.finding import Severity
from leakstop.model.verdict import Carriage, Leak
from story import (
    LEAKING,
    PASSED,
    Ends,
    Finds,
    FindsOnly,
    Kills,
    allow,
    asks,
    carrying,
    guarded,
    home,
    secret,
)

HITS = carrying("NPM_TOKEN")
NAME = "***npm_token***.collector.test"


def test_a_secret_in_a_name_is_stopped_and_reported() -> None:
    told = guarded(secrets=[secret("NPM_TOKEN")]).sees(
        asks(20, NAME, LEAKING, hits=HITS, in_name=True)
    )
    told.expects(
        Kills(20),
        Finds(
            "secret-in-dns",
            severity=Severity.CRITICAL,
            destination=NAME,
            secret="NPM_TOKEN",
            bytes_left=0,
        ),
        Ends(ExitCode.FINDINGS),
    )
    assert "rotate NPM_TOKEN" in told.report.findings[0].what_to_do
    assert "home" not in told.report.findings[0].what_to_do


def test_chunks_towards_one_domain_are_one_finding() -> None:
    told = guarded(leak=Leak.FAIL)
    for chunk in range(5):
        name = f"{chunk}.***NPM_TOKEN***.collector.test"
        told.sees(asks(20, name, PASSED, hits=HITS, in_name=True, carriage=Carriage.FAIL))
    told.sees(
        asks(20, "***NPM_TOKEN***.other.test", PASSED, hits=HITS, in_name=True, carriage="fail")
    )
    told.expects(
        FindsOnly("secret-in-dns", "secret-in-dns"),
        Finds("secret-in-dns", destination="0.***NPM_TOKEN***.collector.test", count=5),
    )


def test_no_name_is_a_home() -> None:
    # The name below the secret's home is read by every resolver on the way there.
    guarded(homes={"NPM_TOKEN": home(allow(NAME))}).sees(
        asks(20, NAME, LEAKING, hits=carrying("NPM_TOKEN", "KEY"), in_name=True)
    ).expects(
        Finds("secret-in-dns", secret="NPM_TOKEN"),
        Finds("secret-in-dns", secret="KEY"),
    )


@pytest.mark.parametrize("leak", [Leak.FAIL, Leak.WARN])
def test_a_question_that_was_let_go(leak: Leak) -> None:
    guarded(leak=leak).sees(
        asks(20, NAME, PASSED, hits=HITS, in_name=True, carriage=Carriage.FAIL)
    ).expects(Finds("secret-in-dns", bytes_left=None, failing=leak is Leak.FAIL))


def test_a_secret_on_the_command_line_of_the_asker_is_not_in_the_name() -> None:
    guarded().sees(asks(20, "collector.test", LEAKING, hits=HITS)).expects(
        FindsOnly("secret-in-argv")
    )


def test_an_ordinary_question_is_nothing() -> None:
    guarded().sees(asks(20, "registry.test", PASSED)).expects(FindsOnly())


def test_a_sensor_that_thinks_nothing_of_it_is_not_believed() -> None:
    guarded().sees(asks(20, NAME, PASSED, hits=HITS, in_name=True)).expects(
        FindsOnly("secret-in-dns"), Ends(ExitCode.FINDINGS)
    )
