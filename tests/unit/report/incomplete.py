# SPDX-License-Identifier: MIT
"""Jobs of which not everything was seen: the agent was away, or gone, or events were lost."""

from __future__ import annotations

from dataclasses import replace

from leakstop.errors import ExitCode
from leakstop.model.clock import between
from leakstop.model.finding import Finding, Severity
from leakstop.model.process import UNKNOWN
from leakstop.model.report import Away, Coverage
from unit.report.scene import BASH, CLEAN_BLOCK, CURL, WORKER, at, flow, process

DIED = replace(
    CLEAN_BLOCK,
    verdict="fail",
    exit_code=ExitCode.COVERAGE,
    coverage=Coverage(
        sensor="kernel",
        complete=False,
        lost_events=0,
        notes=("The agent ended before the guard was taken down.",),
        agent_died=True,
    ),
)
"""The agent was killed."""

LOST = replace(
    CLEAN_BLOCK,
    verdict="fail",
    exit_code=ExitCode.COVERAGE,
    coverage=Coverage(
        sensor="kernel",
        complete=False,
        lost_events=1234,
        notes=("1234 events lost (counter `events`).",),
    ),
)
"""Events were lost in block mode."""


def _away(minute: float, seconds: float, why: str, *, undecided: bool = False) -> Away:
    since_s = CLEAN_BLOCK.started_s + minute * 60
    return Away(since_s, since_s + seconds, why, undecided)


def _lost(gap: Away, minute: float, meanwhile: str) -> Finding:
    return Finding(
        id="coverage-lost",
        severity=Severity.HIGH,
        title="The guard was not whole",
        process=UNKNOWN,
        destination="",
        secret="",
        encoding="",
        step="",
        action_taken=f"Not whole {between(gap.since_s, gap.until_s)}: {gap.why}; {meanwhile}",
        what_to_do="Treat the job as unproven.",
        ts_ns=at(minute),
    )


_KILLED = _away(4, 2, "the agent was killed by SIGKILL")
_RECORDED = "denials went on in the kernel, but what was tried was not recorded in full."
AWAY = replace(
    DIED,
    coverage=Coverage(sensor="kernel", complete=False, lost_events=0, gaps=(_KILLED,)),
    findings=(_lost(_KILLED, 4, _RECORDED),),
    flows=(
        *CLEAN_BLOCK.flows,
        flow("uploads.example.test:443", CURL, "Test", denied=True, minute=5),
    ),
)
"""The agent was killed and started again; afterwards a host was denied."""

_DETACHED = _away(6, 0.25, "somebody detached on_connect4", undecided=True)
_STOPPED = _away(7, 1, "the agent was stopped")
DETACHED = replace(
    AWAY,
    exit_code=ExitCode.FINDINGS,
    coverage=replace(AWAY.coverage, gaps=(_DETACHED, _STOPPED)),
    findings=(
        replace(
            _lost(_DETACHED, 6, ""),
            id="guard-attacked",
            severity=Severity.CRITICAL,
            title="The job laid hands on the guard",
            process=process("/usr/sbin/bpftool", BASH, WORKER),
            destination="the guard's on_connect4",
            step="Test",
            action_taken="It called BPF_LINK_DETACH. Nothing stopped it.",
            what_to_do="Treat the job as compromised.",
        ),
        _lost(_DETACHED, 6, "what those programs decide was not decided meanwhile."),
        _lost(_STOPPED, 7, _RECORDED),
    ),
)
"""Root in the job took a program off, and then stopped the agent."""
