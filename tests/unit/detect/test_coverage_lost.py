# SPDX-License-Identifier: MIT
"""Losses: a finding where the policy was to be enforced, a note elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.detect.coverage_lost import agent_died
from leakstop.errors import ExitCode
from leakstop.model.clock import clock
from leakstop.model.coverage import Gap
from leakstop.model.finding import Severity
from leakstop.model.verdict import Mode
from story import Ends, Finds, FindsOnly, Notes, guarded, loses

GAP = Gap(9_000_000_000, 4_000_000_000, "the agent was restarted")


def test_lost_events_are_added_up_by_counter() -> None:
    told = guarded(mode=Mode.BLOCK).sees(loses(2), loses(3), loses(1, "scratch"))
    told.expects(
        FindsOnly("coverage-lost", "coverage-lost"),
        Finds("coverage-lost", count=5, severity=Severity.HIGH, failing=True),
        Finds("coverage-lost", count=1),
        Ends(ExitCode.COVERAGE),
    )


@pytest.mark.parametrize("mode", list(Mode))
def test_a_time_without_agent(mode: Mode) -> None:
    told = guarded(mode=mode).sees(GAP, replace(GAP, since_ns=1, ts_ns=12_000_000_000))
    told.expects(
        FindsOnly("coverage-lost", "coverage-lost"), Notes("5.0 s"), Ends(ExitCode.COVERAGE)
    )
    first, _ = told.report.findings
    began, ended = (clock(told.report.wall_s(ts_ns)) for ts_ns in (GAP.since_ns, GAP.ts_ns))
    assert f"from {began} to {ended} (5.0 s): the agent was restarted" in first.action_taken


def test_a_time_with_programs_off() -> None:
    told = guarded(mode=Mode.BLOCK).sees(replace(GAP, undecided=True)).expects(Notes("were off"))
    assert "not decided meanwhile" in told.report.findings[0].action_taken


def test_lost_events_are_a_note_in_audit() -> None:
    told = guarded().sees(loses(3)).expects(FindsOnly(), Ends(ExitCode.CLEAN))
    assert len(told.report.coverage.notes) == 1


def test_a_dead_agent_is_a_finding_of_its_own() -> None:
    finding = agent_died(7)
    assert (finding.id, finding.ts_ns, finding.failing) == ("coverage-lost", 7, True)
