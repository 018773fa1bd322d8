# SPDX-License-Identifier: MIT
"""From what was found to the exit code, which is a contract."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from leakstop.detect.coverage_lost import META as COVERAGE_LOST
from leakstop.detect.denied_flow import META as DENIED_FLOW
from leakstop.errors import ExitCode
from leakstop.model.finding import Finding, Severity
from leakstop.model.verdict import Mode, Reason

_ELSEWHERE = frozenset({COVERAGE_LOST.id, DENIED_FLOW.id})
"""Findings with an exit code of their own, or that depend on why."""


def exit_code(
    findings: Iterable[Finding],
    denied: Collection[Reason],
    *,
    mode: Mode,
    fail_on: Severity,
    whole: bool,
    agent_died: bool,
) -> ExitCode:
    """Return the exit code; the gravest reason wins.

    ``denied`` are the reasons of all denials that are not quiet. A denial that a rule asked
    for is a finding in both modes; one that the mode made has its own code. ``whole`` is
    false when events were lost, which matters where the policy was to be enforced; that nobody
    watched, from a moment on or for a time (``agent_died``), matters always.
    """
    grave = any(
        finding.failing and finding.severity.reaches(fail_on)
        for finding in findings
        if finding.id not in _ELSEWHERE
    )
    ruled_out = Reason.DENY_RULE in denied and DENIED_FLOW.severity.reaches(fail_on)
    # Not left to the detectors alone: a kill makes the job red even if its detector failed.
    if grave or ruled_out or Reason.LEAK in denied:
        return ExitCode.FINDINGS
    if agent_died or (mode is Mode.BLOCK and not whole):
        return ExitCode.COVERAGE
    if mode is Mode.BLOCK and denied:
        return ExitCode.DENIED
    return ExitCode.CLEAN


__all__ = ["exit_code"]
