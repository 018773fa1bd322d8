# SPDX-License-Identifier: MIT
"""A last step that ends green without having asked for the report ends the job."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from leakstop.daemon.control import Channel
from leakstop.daemon.last_step import LastStep
from leakstop.daemon.request import ArmRequest
from leakstop.model.event import Exec, Exit
from unit.daemon.scene import FakeSensor, Scene, arm, request

WORKER, PID = 4, 5
HOOK, FINISHER = "/actions/leakstop/hook", "/opt/job-completed.sh"
POST = ("node", f"{HOOK}/post.js")
COMPLETED = ("bash", "-e", FINISHER)


@pytest.fixture
def last() -> LastStep:
    return LastStep(ArmRequest(b"{}", worker_pid=WORKER, hook=HOOK, finisher=FINISHER))


def begun(argv: tuple[str, ...] = POST, ppid: int = WORKER) -> Exec:
    return Exec(1, PID, ppid, 0, "/usr/bin/node", argv, 0, truncated=False)


def ended(code: int = 0) -> Exit:
    return Exit(2, PID, code)


@pytest.mark.parametrize("argv", [POST, COMPLETED])
def test_it_ended_green(last: LastStep, argv: tuple[str, ...]) -> None:
    assert not last.see(begun(argv))
    assert last.see(ended())
    assert not last.see(ended()), "once"


def test_what_fails_is_red_by_itself(last: LastStep) -> None:
    assert not last.see(begun())
    assert not last.see(ended(code=1 << 8))


@pytest.mark.parametrize(
    "event",
    [
        begun(ppid=WORKER + 1),
        begun(("node", f"{HOOK}/main.js")),
        begun(("node", "/actions/other/post.js")),
        begun(("bash", "-e", "/opt/step.sh")),
    ],
)
def test_what_is_another_step(last: LastStep, event: Exec) -> None:
    assert not last.see(event)
    assert not last.see(ended())


def test_what_becomes_another_program_is_still_it(last: LastStep) -> None:
    assert not last.see(begun())
    assert not last.see(begun(("true",)))
    assert last.see(ended())


def test_without_a_hook_there_is_none() -> None:
    last = LastStep(ArmRequest(b"{}", worker_pid=WORKER))
    assert not last.see(begun(("node", "post.js")))
    assert not last.see(ended())


def test_the_agent_ends_the_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    worker = subprocess.Popen(["/bin/sleep", "60"])
    sensor = FakeSensor()

    def client(channel: Channel) -> None:
        arm(channel, request(worker_pid=worker.pid, hook=HOOK))
        sensor.show(begun(ppid=worker.pid), ended())
        assert worker.wait(10) == -signal.SIGKILL

    try:
        Scene(tmp_path, [sensor]).play(client)
    finally:
        worker.kill()
        worker.wait()
    assert "ended without having asked for the report" in capfd.readouterr().err
