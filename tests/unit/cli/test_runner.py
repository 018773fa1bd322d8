# SPDX-License-Identifier: MIT
"""What the runner tells, and how it is told something."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from leakstop.cli import runner
from leakstop.cli.runner import Runner, Worker
from leakstop.errors import PolicyError, UnsupportedError, UsageError


def test_the_job_in_the_runners_words() -> None:
    job = Runner(
        {
            "GITHUB_JOB": "build",
            "GITHUB_WORKFLOW": "CI",
            "GITHUB_WORKFLOW_REF": "acme/app/.github/workflows/ci.yml@refs/heads/main",
            "GITHUB_REPOSITORY": "acme/app",
            "GITHUB_SHA": "9c1e2ab",
            "GITHUB_RUN_ID": "7",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_ACTION_REPOSITORY": "acme/leakstop",
            "GITHUB_ACTION_REF": "v1",
        }
    ).job()
    assert (job.name, job.workflow, job.repository) == ("build", "ci.yml", "acme/app")
    assert (job.sha, job.run_id, job.event) == ("9c1e2ab", "7", "push")
    assert job.action_ref == "acme/leakstop@v1"
    assert not job.fork


def test_a_job_of_which_nothing_is_known() -> None:
    assert Runner({}).job() == Runner({"GITHUB_WORKFLOW": ""}).job()
    assert Runner({"GITHUB_WORKFLOW": "ci.yml"}).job().workflow == "ci.yml"


@pytest.mark.parametrize(
    ("head", "fork"),
    [({"full_name": "acme/app"}, False), ({"full_name": "other/app"}, True), (None, True)],
)
def test_a_pull_request_from_a_fork(tmp_path: Path, head: Any, fork: bool) -> None:
    event = {"pull_request": {"head": {"repo": head}, "base": {"repo": {"full_name": "acme/app"}}}}
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    assert Runner({"GITHUB_EVENT_PATH": str(path)}).job().fork is fork


@pytest.mark.parametrize("payload", ["", "[]", "{}", '{"pull_request": null}', "\0"])
def test_an_event_that_is_no_pull_request(tmp_path: Path, payload: str) -> None:
    path = tmp_path / "event.json"
    path.write_text(payload)
    assert Runner({"GITHUB_EVENT_PATH": str(path)}).job().fork is False


def test_a_value_cannot_begin_another(tmp_path: Path) -> None:
    path = tmp_path / "state"
    told = Runner({"GITHUB_STATE": str(path)})
    told.save_state({"a": "1\nEOF\nkey<<EOF\nstolen", "b": ""})
    told.save_state({"c": "=<<"})
    lines = path.read_text().split("\n")
    ends = [line.partition("<<")[2] for line in lines if "<<ghadelimiter_" in line]
    assert len(set(ends)) == 2, "one that nobody can know for each write"
    assert lines[0] == f"a<<{ends[0]}"
    assert lines[1:6] == ["1", "EOF", "key<<EOF", "stolen", ends[0]]


def test_the_worker_is_read_from_the_kernel(tmp_path: Path) -> None:
    environ = {**os.environ, "LEAKSTOP_CGROUP": "/sys/fs/cgroup/x", "ACT": "true"}
    process = subprocess.Popen(["sleep", "60"], env=environ, cwd=tmp_path)
    try:
        while not Path(f"/proc/{process.pid}/environ").read_bytes():
            pass  # its exec is not over yet
        worker = Worker.at(process.pid)
    finally:
        process.kill()
        process.wait()
    assert (worker.pid, worker.directory) == (process.pid, tmp_path)
    assert worker.cgroup == "/sys/fs/cgroup/x"
    assert not worker.is_act, "a variable says nothing about the program"


def test_a_worker_out_of_sight_is_none() -> None:
    """In a job container the worker is outside, and its id is 0 here."""
    assert Worker.at(0).pid == 0
    assert not Worker.at(0).is_act


def test_the_parent_of_a_process_with_an_odd_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) 1 (b"
    odd.symlink_to("/usr/bin/sleep")
    process = subprocess.Popen([str(odd), "60"])
    try:
        assert runner._parent(process.pid) == os.getpid()
    finally:
        process.kill()
        process.wait()


def annotated(error: Exception, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What ``announce`` prints."""
    runner.announce(error)  # type: ignore[arg-type]
    return capsys.readouterr().out.splitlines()


def test_an_error_with_a_place_points_there(capsys: pytest.CaptureFixture[str]) -> None:
    error = PolicyError(
        "`allow` is written twice", fix="join them", where=".github/leakstop.yml:5:1"
    )
    *text, command = annotated(error, capsys)
    assert text == [".github/leakstop.yml:5:1: error: `allow` is written twice", "   = join them"]
    assert command == (
        "::error file=.github/leakstop.yml,line=5,col=1,"
        "title=Leakstop%3A the policy cannot be used::`allow` is written twice%0Ajoin them"
    )


def test_an_error_in_an_input_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    error = UsageError("`mode: x` is not known", where="input `mode`")
    *_, command = annotated(error, capsys)
    assert command.startswith("::error title=Leakstop%3A the step's inputs are wrong::input `mode`")


def test_a_hostile_error_cannot_speak_to_the_runner(capsys: pytest.CaptureFixture[str]) -> None:
    error = UnsupportedError("a\n::error::b", why="c\r::warning::d##[error]e", where="x\n::f")
    lines = annotated(error, capsys)
    assert [line for line in lines if line.lstrip().startswith("::")] == lines[-1:]
    assert "##[" not in "".join(lines)
    assert lines[-1].count("::") == 2
