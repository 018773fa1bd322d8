# SPDX-License-Identifier: MIT
"""What the runner tells, and how it is told something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leakstop.cli import runner
from leakstop.cli.runner import Caller, Runner, Worker
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


def test_a_worker_is_kept_for_later_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later phase does not look again: who reads the worker's environment is reported by then."""
    worker = Worker(4711, "Runner.Worker", tmp_path / "a dir", "/sys/fs/cgroup/x")
    monkeypatch.setattr(Worker, "at", lambda pid: pytest.fail("it was looked at"))
    assert Worker.kept(worker.to_text()) == worker


def test_without_an_earlier_phase_the_worker_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It started the node process that started us."""
    asked: list[int] = []
    monkeypatch.setattr(Worker, "at", lambda pid: asked.append(pid))
    Worker.kept("")
    assert asked == [runner._parent(os.getppid())]


CALLER = """
import json, sys
from dataclasses import asdict
from leakstop.cli.runner import Caller
print(json.dumps(asdict(Caller.of_this_step())))
"""


def called_by(*argv: str | Path, executable: str = "/bin/sh") -> Caller:
    """What a program sees of who called it, when that was started like this."""
    agent = Path(runner.__file__).resolve().parents[2]
    variables = {**os.environ, "PYTHONPATH": str(agent), "RUN": CALLER, "PYTHON": sys.executable}
    done = subprocess.run(
        [str(word) for word in argv],
        executable=executable,
        env=variables,
        input='"$PYTHON" -c "$RUN"; :\n',
        capture_output=True,
        text=True,
        check=True,
    )
    return Caller(**json.loads(done.stdout))


def test_who_calls_us_and_from_where(tmp_path: Path) -> None:
    """The program is the kernel's word; the script is said as the runner has written it."""
    script = tmp_path / "pre.js"
    script.write_text('"$PYTHON" -c "$RUN"; :\n')
    caller = called_by("any name", script, "more")
    assert caller == Caller(os.path.realpath("/bin/sh"), str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path)
    assert called_by("node", tmp_path / "link" / "pre.js").scripts == str(tmp_path / "link")


def test_a_caller_without_a_script_has_no_directory_of_scripts() -> None:
    assert called_by("sh") == Caller(os.path.realpath("/bin/sh"), "")


def test_a_caller_out_of_sight_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 0)
    assert Caller.of_this_step() == Caller("", "")


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
