# SPDX-License-Identifier: MIT
"""The exit code, as a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.detect.coverage_lost import agent_died
from leakstop.engine.verdict import exit_code
from leakstop.errors import ExitCode
from leakstop.model.finding import Finding, Severity
from leakstop.model.verdict import Mode, Reason

AUDIT, BLOCK = Mode.AUDIT, Mode.BLOCK
NO: tuple[Finding, ...] = ()
DIED = (agent_died(1),)
LEAK = (replace(DIED[0], id="secret-in-argv", severity=Severity.CRITICAL),)
WARNED = (replace(LEAK[0], failing=False),)
UNPLACED = (replace(LEAK[0], id="secret-unplaced", severity=Severity.MEDIUM),)
DENIAL = (replace(DIED[0], id="denied-flow"),)


@pytest.mark.parametrize(
    ("mode", "findings", "denied", "whole", "died", "code"),
    [
        (AUDIT, NO, (), True, False, ExitCode.CLEAN),
        (BLOCK, NO, (), True, False, ExitCode.CLEAN),
        (AUDIT, LEAK, (), True, False, ExitCode.FINDINGS),
        (AUDIT, WARNED, (), True, False, ExitCode.CLEAN),
        (AUDIT, UNPLACED, (), True, False, ExitCode.CLEAN),
        (BLOCK, LEAK, (Reason.NOT_NAMED,), False, True, ExitCode.FINDINGS),
        (AUDIT, NO, (Reason.LEAK,), True, False, ExitCode.FINDINGS),
        (BLOCK, DENIAL, (Reason.NOT_NAMED,), True, False, ExitCode.DENIED),
        (BLOCK, DENIAL, (Reason.UNPARSABLE,), True, False, ExitCode.DENIED),
        (BLOCK, DENIAL, (Reason.PROTOCOL,), True, False, ExitCode.DENIED),
        (BLOCK, DENIAL, (Reason.DENY_RULE,), True, False, ExitCode.FINDINGS),
        (AUDIT, DENIAL, (Reason.DENY_RULE,), True, False, ExitCode.FINDINGS),
        (BLOCK, DENIAL, (Reason.NOT_NAMED,), False, False, ExitCode.COVERAGE),
        (BLOCK, NO, (), False, False, ExitCode.COVERAGE),
        (AUDIT, NO, (), False, False, ExitCode.CLEAN),
        (AUDIT, DIED, (), True, True, ExitCode.COVERAGE),
        (BLOCK, DIED, (), True, True, ExitCode.COVERAGE),
    ],
)
def test_exit_code(
    mode: Mode,
    findings: tuple[Finding, ...],
    denied: tuple[Reason, ...],
    whole: bool,
    died: bool,
    code: ExitCode,
) -> None:
    assert (
        exit_code(findings, denied, mode=mode, fail_on=Severity.HIGH, whole=whole, agent_died=died)
        is code
    )


@pytest.mark.parametrize(
    ("fail_on", "findings", "denied", "code"),
    [
        (Severity.MEDIUM, UNPLACED, (), ExitCode.FINDINGS),
        (Severity.CRITICAL, LEAK, (), ExitCode.FINDINGS),
        (Severity.CRITICAL, DENIAL, (Reason.DENY_RULE,), ExitCode.CLEAN),
        (Severity.LOW, WARNED, (), ExitCode.CLEAN),
    ],
)
def test_fail_on(
    fail_on: Severity, findings: tuple[Finding, ...], denied: tuple[Reason, ...], code: ExitCode
) -> None:
    assert (
        exit_code(findings, denied, mode=AUDIT, fail_on=fail_on, whole=True, agent_died=False)
        is code
    )
