# SPDX-License-Identifier: MIT
"""Only the runner's own last step ends the guard of a job; root in the job does not."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab, cgroup
from lab.guard import AGENT
from lab.network import BARE
from leakstop.daemon import client
from leakstop.daemon.finisher import is_roots
from leakstop.errors import LeakstopError

pytestmark = pytest.mark.root

LEAKSTOP = [sys.executable, "-m", "leakstop"]
REFUSED, DENIED, FINDINGS = 2, 11, 10
POLICY = "version: 1\nmode: block\nallow: home.test\n"
WORKER = """
import json, subprocess, sys
for line in sys.stdin:
    done = subprocess.run(json.loads(line), capture_output=True, text=True)
    print(json.dumps([done.returncode, done.stderr]), flush=True)
"""
"""Stands for the runner's: starts what it is told, one step after the other."""


@dataclass
class Job:
    """A guard with a worker in it."""

    lab: Lab
    group: Path
    run_dir: Path
    worker: subprocess.Popen[str]

    def step(self, *argv: str | Path) -> tuple[int, str]:
        """Let the worker start a program; its exit code and standard error."""
        assert self.worker.stdin is not None and self.worker.stdout is not None
        self.worker.stdin.write(json.dumps([str(each) for each in argv]) + "\n")
        self.worker.stdin.flush()
        code, said = json.loads(self.worker.stdout.readline())
        return int(code), str(said)

    @property
    def stop(self) -> list[str]:
        """What ends the guard, where it may."""
        return [*LEAKSTOP, "stop", "--run-dir", str(self.run_dir)]

    def in_force(self) -> bool:
        """Whether an agent answers, and the job is denied."""
        denied = self.step("curl", "-sS", "-m", "5", f"http://{BARE}/")[0] == 7
        return denied and client.RunDir(self.run_dir).alive()

    def end(self, code: int) -> dict[str, Any]:
        """End the guard from outside of the job; its report."""
        out = self.lab.directory / "out"
        done = self.lab.run([*self.stop, "--report-dir", out], env={"PYTHONPATH": str(AGENT)})
        assert done.returncode == code, done.stderr
        report: dict[str, Any] = json.loads((out / "report.json").read_text())
        return report


Start = Callable[..., Job]


@pytest.fixture
def start(lab: Lab) -> Iterator[Start]:
    """Start a guard with a worker; in the end nothing of it is left."""
    with cgroup.child() as group:
        run_dir = lab.directory / "agent"
        policy = lab.directory / "ci.yml"
        policy.write_text(POLICY)
        environ = {"PYTHONPATH": str(AGENT)}
        command = cgroup.command_in(group, [sys.executable, "-c", WORKER])
        worker = lab.popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def begin(*options: str | Path) -> Job:
            made = Job(lab, group, run_dir, worker)
            made.step("true")  # it is there, and in its cgroup
            guard = ("--policy", policy, "--cgroup", group, "--worker", str(worker.pid))
            asked = [*LEAKSTOP, "start", *guard, "--run-dir", run_dir, *options]
            began = lab.run(asked, env=environ)
            assert began.returncode == 0, began.stderr
            return made

        yield begin
        worker.kill()
        worker.communicate()
        while client.RunDir(run_dir).alive():
            pass


def assert_told(job: Job, *, times: int = 1) -> None:
    """It is refused, in force, and a finding."""
    assert job.in_force()
    report = job.end(FINDINGS)
    (finding,) = [each for each in report["findings"] if each["id"] == "guard-deceived"]
    assert (finding["severity"], finding["count"]) == ("high", times)
    assert "for the guard's end" in finding["action_taken"]
    assert finding["process"]["pid"] > 0
    assert report["coverage"]["gaps"] == []


def test_root_in_the_job_does_not_end_it(start: Start) -> None:
    job = start()
    code, said = job.step(*job.stop)
    assert code == REFUSED
    assert "it belongs to the job, and is not the hook that the runner calls" in said
    assert_told(job)


def test_nor_does_what_has_left_its_parents(start: Start) -> None:
    """Twice forked, in a session of its own: who made it is known all the same."""
    job = start()
    done = job.lab.directory / "done"
    script = f'setsid sh -c \'"$@" 2> {done}.new; mv {done}.new {done}\' sh "$@" & exit 0'
    assert job.step("sh", "-c", script, "sh", *job.stop)[0] == 0
    while not done.exists():
        pass
    assert "it belongs to the job" in done.read_text()
    assert_told(job)


def test_root_outside_of_the_job_does(start: Start) -> None:
    job = start()
    assert job.in_force()
    assert "guard-deceived" not in {each["id"] for each in job.end(DENIED)["findings"]}
    assert not job.in_force()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_no_signal_ends_it_while_the_worker_lives(start: Start, name: str) -> None:
    job = start()
    agent = client.AgentClient.connect(job.run_dir).status()["pid"]
    for pid in (agent, _parent(agent)):
        assert job.step("kill", f"-{name.removeprefix('SIG')}", str(pid))[0] == 0
    assert job.in_force()
    report = job.end(FINDINGS)
    assert {each["id"] for each in report["findings"]} >= {"guard-attacked"}
    assert report["coverage"]["complete"] is True


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# -- the script that the runner calls when a job is over -----------------------------------


@pytest.fixture
def finisher() -> Iterator[Path]:
    """A script in directories that only root can write."""
    directory = Path("/run") / f"leakstop-test-{secrets.token_hex(4)}"
    directory.mkdir(mode=0o755)
    script = directory / "completed.sh"
    yield script
    script.unlink(missing_ok=True)
    directory.rmdir()


def write(script: Path, job: Job) -> None:
    """Let the script end the guard of ``job``."""
    script.write_text("#!/bin/sh\n" + " ".join(job.stop) + "\n")
    script.chmod(0o755)


@pytest.mark.parametrize("shell", [["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"], []])
def test_the_runners_own_script_ends_it(start: Start, finisher: Path, shell: list[str]) -> None:
    finisher.touch(mode=0o755)
    job = start("--finisher", finisher)
    write(finisher, job)
    assert job.step(*shell, finisher)[0] == 0
    assert not client.RunDir(job.run_dir).alive()


@pytest.mark.parametrize(
    "step",
    [
        ["sh", "-c", "{script}; exit 7"],
        ["sh", "-c", "exec bash -e {script}"],
        ["bash", "-e", "{script}", "more"],
        ["bash", "-c", ". {script}; exit 7", "{script}"],
        ["bash", "--init-file", "x", "-e", "{script}"],
        ["env", "{script}"],
    ],
)
def test_a_step_that_runs_that_script_does_not(
    start: Start, finisher: Path, step: list[str]
) -> None:
    finisher.touch(mode=0o755)
    job = start("--finisher", finisher)
    write(finisher, job)
    job.step(*(word.format(script=finisher) for word in step))
    assert_told(job)


def test_a_script_that_was_made_writable_meanwhile_does_not(start: Start, finisher: Path) -> None:
    finisher.touch(mode=0o755)
    job = start("--finisher", finisher)
    write(finisher, job)
    finisher.chmod(0o777)
    assert job.step(finisher)[0] == REFUSED
    assert_told(job)


@pytest.mark.parametrize("leads_to", ["the script", "anybody's", "itself"])
def test_a_link_is_as_good_as_where_it_leads(finisher: Path, tmp_path: Path, leads_to: str) -> None:
    finisher.touch(mode=0o755)
    anybodys = tmp_path / "completed.sh"
    anybodys.touch()
    anybodys.chmod(0o777)
    link = finisher.with_name("link")
    link.symlink_to({"the script": finisher, "anybody's": anybodys, "itself": link}[leads_to])
    try:
        assert is_roots(link) == (leads_to == "the script")
    finally:
        link.unlink()


def test_a_script_that_others_can_change_is_refused_at_once(lab: Lab) -> None:
    script = lab.directory / "completed.sh"
    script.touch(mode=0o777)
    script.chmod(0o777)
    refused = lab.run(
        [*LEAKSTOP, "start", "--finisher", script, "--run-dir", lab.directory / "agent"],
        env={"PYTHONPATH": str(AGENT)},
    )
    assert refused.returncode == REFUSED
    assert "somebody else than root could change this script" in refused.stderr


def test_without_an_agent_nothing_is_asked(tmp_path: Path) -> None:
    assert client.last_word(tmp_path) is None
    with pytest.raises(LeakstopError):
        client.finish(tmp_path)
