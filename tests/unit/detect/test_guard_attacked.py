# SPDX-License-Identifier: MIT
"""Hands on the guard, the runner, the clock: what the kernel tells, and how bad each is."""

from __future__ import annotations

from typing import Any

import pytest

from leakstop.errors import ExitCode
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick
from leakstop.model.verdict import Mode
from story import Ends, Finds, FindsOnly, guarded, running, spawns, step

WORKER = running(100, 1, "/opt/runner/bin/Runner.Worker")
STEP = (*spawns(110, 100, "bash"), step(110, "build"), *spawns(111, 110, "python3"))


def tamper(trick: Trick, what: str = "something", **fields: Any) -> Tamper:
    return Tamper(0, 111, trick, what, **fields)


@pytest.mark.parametrize(
    ("trick", "name", "severity", "code"),
    [
        (Trick.READ, "runner-read", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.BPF, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.SIGNAL, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.TRACE, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.MOUNT, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.REWRITE, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.LIMIT, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.ACTION, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.RUNNER_LOG, "guard-attacked", Severity.CRITICAL, ExitCode.FINDINGS),
        (Trick.CGROUP, "left-the-guard", Severity.HIGH, ExitCode.FINDINGS),
        (Trick.PROGRAMS, "bpf-loaded", Severity.MEDIUM, ExitCode.CLEAN),
        (Trick.CLOCK, "clock-set", Severity.MEDIUM, ExitCode.CLEAN),
    ],
)
@pytest.mark.parametrize("mode", Mode)
def test_one_trick_is_one_finding(
    trick: Trick, name: str, severity: Severity, code: ExitCode, mode: Mode
) -> None:
    """What only an attacker does is red, in audit too; what a build may do is listed."""
    told = guarded(mode=mode, worker=100).sees(WORKER, STEP, tamper(trick), tamper(trick))
    told.expects(
        FindsOnly(name),
        Finds(name, severity=severity, step="build", count=2, destination="something"),
        Ends(code),
    )
    assert told.report.findings[0].process.exe == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("killed", "denied", "said", "rotate"),
    [
        (True, True, "It was denied, and the program was killed.", False),
        (True, False, "The program was killed before that call returned to it.", False),
        (False, True, "It was denied: nothing came of it.", False),
        (False, False, "Nothing stopped it.", True),
    ],
)
def test_it_is_said_what_came_of_it(killed: bool, denied: bool, said: str, rotate: bool) -> None:
    event = tamper(
        Trick.READ,
        "the memory of the runner's worker",
        killed=killed,
        denied=denied,
        route="process_vm_readv",
    )
    [finding] = guarded(worker=100).sees(WORKER, STEP, event).report.findings
    reached = "It reached for the memory of the runner's worker (process_vm_readv). "
    assert finding.action_taken == reached + said
    assert ("Rotate every secret" in finding.what_to_do) is rotate


def test_what_a_file_was_made_to_send_has_nobody() -> None:
    event = Tamper(0, 0, Trick.SIGNAL, "SIGSTOP at Leakstop's own process")
    [finding] = guarded().sees(event).report.findings
    assert finding.action_taken == (
        "Somebody had the kernel send SIGSTOP at Leakstop's own process when a file had something "
        "to read (F_SETOWN). Nothing stopped it. Who did it is not known."
    )


def test_two_ways_are_two_findings() -> None:
    signals = [tamper(Trick.SIGNAL, f"{name} at Leakstop's own process") for name in ("A", "B")]
    guarded().sees(STEP, *signals).expects(FindsOnly("guard-attacked", "guard-attacked"))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            Tamper(0, 0, Trick.BPF, "the guard's on_egress", route="detached", mended=True),
            "The agent found the guard's on_egress detached, and put it right.",
        ),
        (
            Tamper(0, 0, Trick.MOUNT, "/action", route="not mounted any more"),
            "The agent found /action not mounted any more: it stays so.",
        ),
        (
            Tamper(0, 0, Trick.RUNNER_LOG, "the runner's log Worker.log", route="cut short"),
            "The agent found the runner's log Worker.log cut short: it stays so.",
        ),
    ],
)
def test_what_is_found_afterwards_has_nobody(event: Tamper, said: str) -> None:
    """And it is not said to be put right unless it is."""
    [finding] = guarded().sees(event).report.findings
    assert finding.action_taken == f"{said} Who did it is not known."
