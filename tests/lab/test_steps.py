# SPDX-License-Identifier: MIT
"""Which step it was, and what it may: a worker that keeps a diagnostic log as the runner's does,
guarded from outside while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab, cgroup
from lab.guard import AGENT
from lab.network import BARE
from lab.worker import WORKFLOW, Outcome, Step, Worker, composite, script

pytestmark = pytest.mark.root

LEAKSTOP = [sys.executable, "-m", "leakstop"]
HEAD = "[2026-04-10 17:17:22Z INFO StepsRunner] "
DENY = "version: 1\nmode: block\nallow:\n  - home.test\n"
SCOPED = "version: 1\nmode: block\nallow:\n  - host: home.test\n    step: {step}\n"


@dataclass
class Guarded:
    """A guarded job that is over."""

    outcome: Outcome
    report: dict[str, Any]
    events: list[dict[str, Any]]

    def steps_to(self, host: str) -> set[str]:
        """Names of the steps that wanted to go to ``host``."""
        flows = self.report["flows"]
        return {flow["step"] for flow in flows if host in (flow["host"], flow["ip"])}

    @property
    def named(self) -> dict[str, dict[str, Any]]:
        """The steps of the report."""
        return {step["name"]: step for step in self.report["steps"]}

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The journal's events of one kind."""
        return [event for event in self.events if event["kind"] == kind]


Run = Callable[..., Guarded]


@pytest.fixture
def guarded(lab: Lab) -> Iterator[Run]:
    """Run a job; the guard comes between its first step and the others."""
    directory = Path(tempfile.mkdtemp(prefix="worker-", dir=lab.directory))
    directory.chmod(0o755)  # policies are read without rights
    go, end, run_dir = directory / "go", directory / "end", directory / "agent"
    agent = ["--run-dir", str(run_dir)]

    def leakstop(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = lab.run([*LEAKSTOP, *arguments], env={"PYTHONPATH": str(AGENT)})
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(*steps: Step, policy: str = DENY, **more: Any) -> Guarded:
        (directory / "ci.yml").write_text(policy)
        inner = [
            script(_until(go), "Begin"),
            *steps,
            script(f"touch {end}.x; {_until(end)}", "End"),
        ]
        job = Worker(directory, lab.popen).start(inner, group=group, **more)
        try:
            _wait(lambda: "Process started" in job.log.read_text())
            options = ["--policy", directory / "ci.yml", "--cgroup", group]
            began = leakstop("start", *options, "--worker", str(job.pid), *agent)
            assert began.returncode == 0, began.stderr
            go.touch()
            _wait(Path(f"{end}.x").exists)
            lab.settle()
            leakstop("stop", *agent)
            report = json.loads(leakstop("report", "--format", "json", *agent).stdout)
            journal = next(run_dir.rglob("events.ndjson")).read_text()
        finally:
            go.touch()
            end.touch()
            outcome = job.wait()
        return Guarded(outcome, report, [json.loads(line) for line in journal.splitlines()])

    with cgroup.child() as group:
        try:
            yield run
        finally:
            if run_dir.exists():
                leakstop("stop", *agent)


def _until(path: Path) -> str:
    return f"until [ -e {path} ]; do sleep 0.05; done\n"


def _wait(holds: Callable[[], bool], timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def visit(url: str) -> str:
    return f"curl -sS -m 5 {url} && echo reached || true\n"


def test_parallel_steps_are_told_apart(guarded: Run) -> None:
    home = visit("https://home.test/")
    job = guarded(
        script(visit("https://one.test/") + home, "One", background=True),
        script(visit("https://two.test/") + home, "Two", id="two", background=True),
        script(visit("https://three.test/") + home, "Three"),
        policy=SCOPED.format(step="two"),
    )
    for name in ("One", "Two", "Three"):
        assert job.steps_to(f"{name.lower()}.test") == {name}
        assert ("reached" in job.outcome.of(name)["output"]) == (name == "Two")
    assert job.named["Two"]["place"] == f"{WORKFLOW}:12"
    assert {step["source"] for step in job.named.values()} == {"runner log"}
    assert not any("Steps are named" in note for note in job.report["coverage"]["notes"])


def test_a_daemon_that_step_2_left_is_step_2_s_during_step_5(guarded: Run) -> None:
    daemon = f"(until [ -e go ]; do sleep 0.05; done; {visit('https://late.test/')} touch done)"
    job = guarded(
        script(f"setsid bash -c '{daemon} &' </dev/null >/dev/null 2>&1", "Two"),
        script(":", "Three"),
        script(":", "Four"),
        script("touch go; until [ -e done ]; do sleep 0.05; done", "Five"),
    )
    assert job.steps_to("late.test") == {"Two"}


def test_what_a_composite_runs_is_its_own_step_s(guarded: Run) -> None:
    inner = [script(visit("https://inner.test/"), "Publish", id="publish")]
    job = guarded(composite("acme/outer@v1", inner, "Outer"))
    assert job.steps_to("inner.test") == {"Outer"}


@pytest.mark.parametrize("step", ["Publish it", "publish"])
def test_a_rule_for_a_step_holds_for_it_alone(guarded: Run, step: str) -> None:
    go_home = visit("https://home.test/")
    job = guarded(
        script(go_home, "Build"),
        script(go_home, "Publish it", id="publish"),
        script(go_home, "After"),
        policy=SCOPED.format(step=step),
    )
    reached = {
        name: "reached" in job.outcome.of(name)["output"] for name in ("Build", "Publish it")
    }
    assert reached == {"Build": False, "Publish it": True}
    assert "reached" not in job.outcome.of("After")["output"]


def test_a_rule_finds_an_action_by_what_it_uses(guarded: Run) -> None:
    go_home = [script(visit("https://home.test/"))]
    job = guarded(
        composite("acme/build@v1", go_home, "Build"),
        composite("acme/upload@v1", go_home, "Upload"),
        policy=SCOPED.format(step="acme/upload"),
    )
    outputs = {r["action"]: "reached" in r["output"] for r in job.outcome.records if "action" in r}
    assert (outputs["__acme_build"], outputs["__acme_upload"]) == (False, True)


def test_forged_lines_give_no_rights_and_are_a_finding(guarded: Run) -> None:
    forged = [f"{HEAD}Current state: x", f"{HEAD}Processing step: DisplayName='Publish'", HEAD]
    writes = "\n".join(f'echo "{line}" >> "$log"' for line in forged)
    lie = f"log=$(ls ../../../_diag/Worker_*.log)\n{writes}\n"
    job = guarded(
        script(
            f"{lie}export GITHUB_ACTION=publish\nexec bash -c '{visit('https://home.test/')}'",
            "Build",
        ),
        script(visit("https://home.test/"), "Test"),
        script(":", "Publish", id="publish"),
        policy=SCOPED.format(step="publish"),
    )
    assert job.steps_to("home.test") == {"Build", "Test"}
    for name in ("Build", "Test"):
        assert "reached" not in job.outcome.of(name)["output"]
    assert {tamper["trick"] for tamper in job.told("tamper")} == {"runner-log"}
    assert [finding["id"] for finding in job.report["findings"]].count("guard-attacked") == 1


def test_truncation_is_a_finding(guarded: Run) -> None:
    job = guarded(
        # Longer than a busy agent takes to ask for their environment: else their name is a guess.
        script("truncate -s 0 ../../../_diag/Worker_*.log\nsleep 1", "Build"),
        script(visit(f"http://{BARE}/") + "sleep 1\n", "Test"),
    )
    assert job.steps_to(BARE) == {"Test"}
    (tamper,) = job.told("tamper")
    assert (tamper["trick"], tamper["route"]) == ("runner-log", "cut short")
    (found,) = [each for each in job.report["findings"] if each["id"] == "guard-attacked"]
    assert found["step"] == "Build"


def test_a_log_that_rolled_is_followed(guarded: Run) -> None:
    small = [script(":", f"Step {number}") for number in range(5)]
    job = guarded(*small, script(visit("https://last.test/"), "Last"), page_bytes=12_000)
    assert len(list(job.outcome.root.glob("_diag/Worker_*.log"))) > 1
    assert job.steps_to("last.test") == {"Last"}
    assert job.told("tamper") == []


def test_without_a_log_that_tells_the_environment_names_and_that_is_said(guarded: Run) -> None:
    job = guarded(
        script(visit("https://one.test/") + "sleep 0.5", "Named", id="one"),
        message=lambda message: message.update(steps="***"),
    )
    assert job.steps_to("one.test") == {"one"}
    assert job.named["one"]["source"] == "environment"
    assert any("Steps are named by what" in note for note in job.report["coverage"]["notes"])
