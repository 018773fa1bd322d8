# SPDX-License-Identifier: MIT
"""Secrets that turn up while the job runs."""

from __future__ import annotations

import pytest

from leakstop.engine import inventory
from story import Notes, carrying, connects, execs, fork, found, guarded, secret, spawns, step

IP = "198.51.100.7"


def test_a_secret_that_was_found_is_in_the_report() -> None:
    told = guarded(secrets=[secret("A", size=9)]).sees(
        found("NPM_TOKEN", format="npm token", home=("publish:npm",), placed_by="format")
    )
    declared, fresh = told.report.secrets
    assert (declared.name, declared.source) == ("A", "")
    assert (fresh.name, fresh.kind, fresh.home) == ("NPM_TOKEN", "npm token", ("publish:npm",))
    assert (fresh.source, fresh.digest, fresh.size) == ("environment of bash", "9f3a61", 40)
    assert fresh.revoke.startswith("npm token")
    assert fresh.check == "publish history"
    assert "Trusted Publishing" in fresh.instead


def test_the_steps_that_could_read_it_are_listed() -> None:
    told = guarded(secrets=[secret("A")], worker=9).sees(
        fork(20, 9), step(20, "Build"), fork(30, 9), found("A", pid=20), found("A", pid=30)
    )
    told.sees(step(30, "Deploy"), found("A", pid=20))
    assert told.report.secrets[0].steps == ("Build", "Deploy")
    assert told.report.secrets[0].source == "", "it stays the declared one"


def test_an_unknown_format_or_name_breaks_nothing() -> None:
    told = guarded().sees(
        found("X", format="a format of tomorrow"),
        spawns(20, 1, "curl"),
        connects(20, IP, hits=carrying("NEVER_HEARD_OF")),
    )
    assert told.report.secrets[0].kind == "a format of tomorrow"
    assert told.report.flows[0].secrets == ("NEVER_HEARD_OF",)


def test_a_job_that_makes_secrets_up_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "_LIMIT", 3)
    told = guarded(secrets=[secret("A")]).sees(execs(20, "bash"))
    for number in range(5):
        told.sees(found(f"X{number}"))
    told.expects(Notes("The list of secrets is full: 2 that were found are not in it."))
    assert [view.name for view in told.report.secrets] == ["A", "X0", "X1", "X2"]
