# SPDX-License-Identifier: MIT
"""A job whose steps overlap: a daemon that one left behind, two in parallel, one unsure."""

from __future__ import annotations

from dataclasses import replace

from leakstop.errors import ExitCode
from leakstop.model.finding import Finding, Severity
from leakstop.model.report import StepView
from leakstop.model.verdict import Mode
from unit.report.scene import (
    API,
    CLEAN,
    CURL,
    JOB,
    PIP,
    PYTHON,
    RUNNER_FLOWS,
    at,
    flow,
    process,
)

_WORKFLOW = ".github/workflows/release.yml"
_SHARED = "acme/shared/.github/workflows/docs.yml"
_DAEMON = process("/home/runner/.cache/updater")
_BOXED = replace(CURL, container="docs (alpine:3)")

FOUND = Finding(
    id="guard-attacked",
    severity=Severity.HIGH,
    title="The runner's log was touched",
    process=process("/usr/bin/tee"),
    destination="",
    secret="",
    encoding="",
    step="Install",
    action_taken="The log names steps for people only; no rule hangs on it.",
    what_to_do="Find out who wrote this step.",
    ts_ns=at(3),
)

STEPWISE = replace(
    CLEAN,
    verdict="fail",
    exit_code=ExitCode.DENIED,
    mode=Mode.BLOCK,
    findings=(
        FOUND,
        replace(FOUND, step="", process=_DAEMON, ts_ns=at(1)),
        replace(FOUND, step="Build docs", process=_BOXED, ts_ns=at(2)),
    ),
    steps=(
        StepView("Checkout", f"{_WORKFLOW}:12", "runner log", ("Checkout",)),
        StepView("Install", f"{_WORKFLOW}:14", "runner log", ("Install",)),
        StepView("Test", f"{_WORKFLOW}:18", "runner log", ("Test",)),
        StepView(
            "Build docs",
            "acme/shared/.github/workflows/docs.yml@v1:9",
            "runner log",
            ("Build docs",),
        ),
        StepView("Publish (?)", "", "runner log"),
    ),
    flows=(
        *RUNNER_FLOWS,
        flow("time.machine.test:123", process("/usr/sbin/chronyd"), "", denied=True, minute=0.1),
        flow("index.mirror.test:8443", PIP, "Install", rule=PYTHON, minute=1),
        flow("docs.example.test:443", _BOXED, "Build docs", denied=True, minute=2),
        flow("api.example.test:443", CURL, "Test", rule=API, minute=2.5),
        flow("files.mirror.test:8443", PIP, "Install", rule=PYTHON, minute=3),
        flow("evil.test:443", _DAEMON, "Install", denied=True, minute=9),
        flow("uploads.example.test:443", CURL, "Publish (?)", denied=True, minute=9.5),
        flow("git.forge.test:443", process("/usr/bin/git"), "Checkout", denied=True, minute=10),
    ),
    job=replace(JOB, name="release", workflow="release.yml"),
)

__all__ = ["STEPWISE"]
