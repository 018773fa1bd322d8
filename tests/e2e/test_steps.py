# SPDX-License-Identifier: MIT
"""The action itself under a worker that keeps a diagnostic log as the runner's does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.acting import ROOT, Run
from lab import Lab, cgroup
from lab.worker import WORKFLOW, Outcome, Step, Worker, action, script

pytestmark = [pytest.mark.root, pytest.mark.act]  # for node

HOOK = ROOT / "agent" / "hook"
PHASES = {phase: HOOK / f"{phase}.js" for phase in ("pre", "main", "post")}
POLICY = "version: 1\nmode: block\nallow:\n  - host: home.test\n    step: publish\n"
VISIT = "curl -sS -m 5 https://home.test/ && echo reached || true"
Guarded = Callable[..., Outcome]


@pytest.fixture
def guarded(lab: Lab) -> Iterator[Guarded]:
    """Run a job whose first step is the action."""
    directory = Path(tempfile.mkdtemp(prefix="worker-", dir=lab.directory))
    directory.chmod(0o755)
    runs: list[Run] = []
    with cgroup.child() as group:

        def run(*steps: Step) -> Outcome:
            first = action("acme/leakstop@v1", PHASES, "Guard", **{"with": {"policy": POLICY}})
            job = Worker(directory, lab.popen).start([first, *steps], group=group)
            runs.append(Run(job.process, job.root, job.identity))
            return job.wait()

        try:
            yield run
        finally:
            for each in runs:
                each.discard()


def report(outcome: Outcome) -> dict[str, Any]:
    (found,) = outcome.root.glob("_work/_temp/leakstop-*/report.json")
    read: dict[str, Any] = json.loads(found.read_text())
    return read


def test_a_rule_for_a_step_and_the_step_s_line(guarded: Guarded) -> None:
    outcome = guarded(script(VISIT, "Build"), script(VISIT, "Publish it", id="publish"))
    assert outcome.of("Guard")["code"] == 0, outcome.records
    assert "reached" not in outcome.of("Build")["output"]
    assert "reached" in outcome.of("Publish it")["output"]
    made = report(outcome)
    assert [step["name"] for step in made["steps"]][-3:] == ["Build", "Publish it", "Post Guard"]
    (denied,) = [flow for flow in made["flows"] if flow["applied"] == "deny"]
    assert (denied["host"], denied["step"]) == ("home.test", "Build")
    assert f"::error file={WORKFLOW},line=11," in outcome.of("Post Guard", "Post")["output"]
    assert outcome.result == "failure"


def test_a_step_that_reaches_into_the_worker(guarded: Guarded) -> None:
    """As in tj-actions/changed-files, March 2025: its memory holds the secrets of all steps."""
    reach = "python3 -c \"open('/proc/$PPID/mem', 'rb'); print('read')\" || echo ended with $?"
    outcome = guarded(script(reach, "Collect"), script("echo on", "Build"))
    assert outcome.of("Collect")["output"].splitlines()[-1] == "ended with 137"
    assert outcome.of("Build")["output"] == "on\n", "the worker is as it was"
    (finding,) = report(outcome)["findings"]
    assert (finding["id"], finding["severity"]) == ("runner-read", "critical")
    assert finding["step"] == "Collect"
    assert finding["destination"] == "the memory of the runner's worker"
    assert Path(finding["process"]["exe"]).name.startswith("python3")
    assert outcome.result == "failure"
