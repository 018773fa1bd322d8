# SPDX-License-Identifier: MIT
"""Hands laid on the machine: what ordinary jobs do too is listed, what only a thief does is red."""

from __future__ import annotations

import pytest

from leakstop.errors import ExitCode
from leakstop.model.event import Event
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick
from story import Ends, Finds, FindsOnly, Story, execs, fork, guarded

TOUCHED = (
    (Trick.FIREWALL, "netfilter's rules", "network-changed", Severity.LOW),
    (Trick.ROUTES, "a route", "network-changed", Severity.LOW),
    (Trick.RESOLVER, "/etc/hosts", "resolver-changed", Severity.MEDIUM),
    (Trick.PRIVILEGES, "/etc/sudoers.d/runner", "privileges-changed", Severity.MEDIUM),
    (Trick.PRIVILEGES, "/etc/ld.so.preload", "privileges-changed", Severity.HIGH),
    (Trick.ENVIRONMENT, "LD_PRELOAD", "environment-hijacked", Severity.HIGH),
)


def job(*events: Event) -> Story:
    """A job whose process 10 is a shell."""
    return guarded().sees(fork(10, 1), execs(10, "bash"), *events)


def touch(trick: Trick, what: str, pid: int = 10) -> Tamper:
    return Tamper(0, pid, trick, what)


@pytest.mark.parametrize(("trick", "what", "name", "severity"), TOUCHED)
def test_each_is_said_with_what_was_touched_and_by_whom(
    trick: Trick, what: str, name: str, severity: Severity
) -> None:
    red = severity.reaches(Severity.HIGH)
    story = job(touch(trick, what), touch(trick, what)).expects(
        FindsOnly(name),
        Finds(name, destination=what, severity=severity, count=2),
        Ends(ExitCode.FINDINGS if red else ExitCode.CLEAN),
    )
    (finding,) = story.report.findings
    assert what in finding.action_taken
    assert finding.process.exe.endswith("bash")
    assert finding.what_to_do


@pytest.mark.parametrize(("trick", "what", "name", "severity"), TOUCHED)
def test_two_things_are_two_findings(
    trick: Trick, what: str, name: str, severity: Severity
) -> None:
    del severity
    story = job(touch(trick, what), touch(trick, f"{what}2"))
    assert [finding.id for finding in story.report.findings] == [name, name]
