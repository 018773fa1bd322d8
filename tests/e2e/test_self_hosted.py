# SPDX-License-Identifier: MIT
"""The runner's own job hooks, on a machine of one's own. The runner's worker is played.

It runs as an ordinary user and starts hooks and steps as the runner does: ``bash -e FILE``. sudo
is a stand-in; with the real one, and the sudoers file, ``tests/vm/runner/self_hosted.py``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.acting import ROOT
from e2e.test_user import AS_USER
from lab import Lab, cgroup
from lab.network import BARE

pytestmark = pytest.mark.root

USAGE, POLICY, FINDINGS, DENIED, COVERAGE = 2, 3, 10, 11, 12
# Started hook, one step, completed hook; a line with the exit code of each.
WORKER = """
bash -e "$0/job-started.sh" || { echo "started: $?"; exit; }
bash -e "$1"; echo "step: $?"
[ -z "$3" ] || export LD_PRELOAD="$3" # as a step has it done by GITHUB_ENV
bash -e "$0/$2"; echo "completed: $?"
[ -z "$3" ] || sleep 5 # what the runner sends home then takes it as long
"""


@dataclass
class Runner:
    """A runner whose hooks are ours."""

    lab: Lab
    group: Path
    directory: Path
    completed: str = "job-completed.sh"
    """How the runner's settings write it, from the directory of the hooks on."""
    preloaded: str | Path = ""
    """A library that gets into everything after the step."""

    @property
    def hooks(self) -> Path:
        """Where they are installed."""
        return self.directory / "agent" / "self-hosted"

    @property
    def runs(self) -> list[Path]:
        """Run directories of the guards that are there."""
        return list((self.directory / "run").glob("worker-*"))

    def popen(self, step: str) -> subprocess.Popen[str]:
        """Start a job of one step."""
        script = self.directory / "step.sh"
        script.write_text(step)
        worker = [*AS_USER, "sh", "-c", WORKER, str(self.hooks), str(script)]
        worker += [self.completed, str(self.preloaded)]
        return self.lab.popen(
            cgroup.command_in(self.group, worker),
            env={"LEAKSTOP_CGROUP": str(self.group)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, step: str) -> str:
        """Run a job of one step to its end; what it printed."""
        job = self.popen(step)
        said, _ = job.communicate(timeout=50)
        self.lab.settle()
        return said

    def reaches_anything(self) -> bool:
        """Whether nobody guards the cgroup, a moment after its worker has ended."""
        curl = cgroup.command_in(self.group, ["curl", "-sS", "-m", "5", f"http://{BARE}/"])
        deadline = time.monotonic() + 10
        while self.lab.run(curl).returncode:
            if time.monotonic() > deadline:
                return False
        return True


@pytest.fixture
def runner(lab: Lab) -> Iterator[Runner]:
    directory = lab.directory / "opt"
    for name in ("agent", "policies"):
        shutil.copytree(ROOT / name, directory / name)
    made = directory / "sudo"
    subprocess.run(["cc", "-o", made, Path(__file__).with_name("sudo.c")], check=True)
    made.chmod(0o4755)
    for script in ("job-started.sh", "job-completed.sh"):
        put(directory / "agent/self-hosted" / script, {"/usr/bin/sudo": str(made)})
    places = {
        "/etc/leakstop/policy.yml": str(directory / "policy.yml"),
        "/var/log/leakstop": str(directory / "reports"),
        "/run/leakstop": str(directory / "run"),
    }
    put(directory / "agent/self-hosted/guard", places)
    (directory / "policy.yml").write_text("version: 1\nmode: block\nallow: home.test\n")
    with cgroup.child() as group:
        runner = Runner(lab, group, directory)
        yield runner
        for run in runner.runs:
            leakstop = [directory / "agent/leakstop/__main__.py", "stop", "--run-dir", run]
            lab.run(["/usr/bin/python3", *leakstop])


def put(file: Path, places: dict[str, str]) -> None:
    """Let a script name other places."""
    text = file.read_text()
    for old, new in places.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text)


def wait_for_text(file: Path) -> None:
    deadline = time.monotonic() + 20
    while not file.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def codes(said: str) -> list[str]:
    """The lines with exit codes."""
    marks = ("started: ", "step: ", "completed: ")
    return [line for line in said.splitlines() if line.startswith(marks)]


def test_a_clean_job_passes_and_nothing_is_left(runner: Runner) -> None:
    said = runner.run("id -u; curl -sS https://home.test/")
    assert codes(said) == ["step: 0", "completed: 0"], said
    assert "leakstop: guarding the cgroup in block mode." in said
    assert "Leakstop: nothing to do" in said
    assert runner.runs == [], said
    assert runner.reaches_anything()


def test_a_denied_host_fails_the_job(runner: Runner) -> None:
    (runner.directory / "reports").mkdir()
    said = runner.run(f"curl -sS -m 5 http://{BARE}/ || echo refused")
    assert codes(said) == ["step: 0", f"completed: {DENIED}"], said
    assert "refused" in said and f"denied: {BARE}" in said
    assert runner.lab.collector.connections == []
    assert runner.runs == [], said
    (kept,) = (runner.directory / "reports").iterdir()
    assert (kept / "report.json").stat().st_uid == 0, "the job cannot change what is kept"


def test_without_a_policy_the_job_does_not_start(runner: Runner) -> None:
    (runner.directory / "policy.yml").unlink()
    said = runner.run("echo ran")
    assert codes(said) == [f"started: {POLICY}"], said
    assert "policy.yml` could not be read" in said
    assert "ran" not in said
    assert runner.runs == [], said


def test_a_step_does_not_end_the_guard(runner: Runner) -> None:
    """Below a step there is nobody whose guard it could be, and the agent is root's."""
    as_root = f"{runner.directory}/sudo -n -- {runner.hooks}/guard completed"
    leakstop = f"/usr/bin/python3 {runner.directory}/agent/leakstop/__main__.py"
    as_itself = f"{leakstop} stop --run-dir {runner.directory}/run/worker-$PPID"
    visit = f"curl -sS -m 5 http://{BARE}/"
    said = runner.run(f"{as_root} || {as_itself} || {visit} || echo refused")
    assert codes(said) == ["step: 0", f"completed: {DENIED}"], said
    assert "no agent answers: Permission denied" in said
    assert "refused" in said
    assert runner.lab.collector.connections == []


def test_a_step_that_takes_itself_for_the_hook_is_refused_and_found(runner: Runner) -> None:
    """What the first program of a child of the worker is, no step decides."""
    said = runner.run(f"exec {runner.directory}/sudo -n -- {runner.hooks}/guard completed")
    assert codes(said) == [f"step: {USAGE}", f"completed: {FINDINGS}"], said
    assert "is not the hook that the runner calls" in said
    assert runner.runs == [], said


def test_a_hook_that_is_written_in_another_way_does_not_end_the_guard(runner: Runner) -> None:
    """The end of each job is red; with the worker the guard goes, too."""
    runner.completed = "../self-hosted/job-completed.sh"
    said = runner.run("curl -sS https://home.test/")
    assert codes(said) == ["step: 0", f"completed: {USAGE}"], said
    assert "is not the hook that the runner calls" in said
    assert runner.reaches_anything()


def test_a_last_step_that_a_library_ends_green_is_no_green_job(runner: Runner) -> None:
    """Nobody has said what happened: the job ends with its worker."""
    runner.preloaded = runner.directory / "quiet.so"
    source = Path(__file__).with_name("quiet.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", runner.preloaded, source], check=True)
    job = runner.popen("curl -sS https://home.test/")
    said, _ = job.communicate(timeout=50)
    assert job.returncode == -signal.SIGKILL, said
    assert codes(said)[0] == "step: 0", said


def mark_of(runner: Runner) -> Path:
    """A file by which a step says that it is there."""
    mark = runner.directory / "mark"
    mark.touch()
    mark.chmod(0o666)
    return mark


def test_a_guard_that_root_ended_is_missed(runner: Runner) -> None:
    """By whoever is root and not of the job."""
    mark = mark_of(runner)
    job = runner.popen(f"echo here > {mark}; while [ -s {mark} ]; do sleep 0.1; done")
    wait_for_text(mark)
    (run,) = runner.runs
    leakstop = [runner.directory / "agent/leakstop/__main__.py", "stop", "--run-dir", run]
    assert runner.lab.run(["/usr/bin/python3", *leakstop]).returncode == 0
    mark.write_text("")
    said, _ = job.communicate(timeout=30)
    assert codes(said) == ["step: 0", f"completed: {COVERAGE}"], said
    assert "the guard ended before the job did: coverage is lost" in said
    assert runner.runs == [], said


def test_what_a_dead_worker_left_goes_with_the_next_job(runner: Runner) -> None:
    mark = mark_of(runner)
    job = runner.popen(f"echo here > {mark}; exec sleep 60")
    wait_for_text(mark)
    (old,) = runner.runs
    os.kill(int(old.name.partition("-")[2]), signal.SIGKILL)
    job.wait(10)
    said = runner.run("curl -sS https://home.test/")
    assert codes(said) == ["step: 0", "completed: 0"], said
    assert not old.exists(), (said, list(old.rglob("*")))
    assert runner.runs == [], said
