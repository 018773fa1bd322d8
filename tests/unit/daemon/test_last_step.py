# SPDX-License-Identifier: MIT
"""A last step that ends green without having asked for the report ends the job."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leakstop.daemon.control import Channel
from leakstop.daemon.last_step import LastStep
from leakstop.daemon.request import ArmRequest
from leakstop.model.event import Exec, Exit
from leakstop.sensor import proc
from unit.daemon.scene import FakeSensor, Scene, arm, request

WORKER, GONE = 4, 2**22 + 1
HOOK = "/actions/leakstop/hook"
POST = ("node", f"{HOOK}/post.js")
SECOND = 1_000_000_000
Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that stays, with these variables; its pid."""
    running = []

    def begin(**variables: str) -> int:
        process = subprocess.Popen(["/bin/sleep", "60"], env=variables)
        running.append(process)
        while b"sleep" not in (proc.cmdline(process.pid) or [b""])[0]:
            time.sleep(0.005)
        return process.pid

    yield begin
    for process in running:
        process.kill()
        process.wait()


def step(tmp_path: Path, **fields: str) -> LastStep:
    return LastStep(ArmRequest(b"{}", worker_pid=WORKER, hook=HOOK, **fields), tmp_path / "job-1")


def begun(pid: int, argv: tuple[str, ...] = POST, ppid: int = WORKER) -> Exec:
    return Exec(SECOND, pid, ppid, 0, "/usr/bin/node", argv, 0, truncated=False)


def ended(pid: int, code: int = 0, after_ns: int = SECOND) -> Exit:
    return Exit(SECOND + after_ns, pid, code)


def test_it_ended_green(tmp_path: Path, start: Start) -> None:
    last, pid = step(tmp_path), start(STATE_run=str(tmp_path / "job-1"))
    assert not last.see(begun(pid))
    assert last.see(ended(pid))
    assert not last.see(ended(pid)), "once"


def test_what_fails_is_red_by_itself(tmp_path: Path, start: Start) -> None:
    last, pid = step(tmp_path), start(STATE_run=str(tmp_path / "job-1"))
    assert not last.see(begun(pid))
    assert not last.see(ended(pid, code=1 << 8))


@pytest.mark.parametrize(
    "event",
    [
        begun(GONE, ppid=WORKER + 1),
        begun(GONE, ("node", f"{HOOK}/main.js")),
        begun(GONE, ("node", "/actions/other/post.js")),
        begun(GONE, ("bash", "-e", "/opt/job-completed.sh")),
    ],
)
def test_what_is_another_step(tmp_path: Path, event: Exec) -> None:
    last = step(tmp_path)
    assert not last.see(event)
    assert not last.see(ended(GONE, after_ns=1))


def test_what_it_becomes_later_is_not_it(tmp_path: Path, start: Start) -> None:
    last, pid = step(tmp_path), start(HOME="/")
    assert not last.see(begun(pid))
    assert not last.see(begun(pid, ("true",)))
    assert not last.see(ended(pid))


def test_the_script_of_a_self_hosted_runner(tmp_path: Path, start: Start) -> None:
    last, pid = step(tmp_path, finisher="/opt/job-completed.sh"), start(HOME="/")
    assert not last.see(begun(pid, ("bash", "-e", "/opt/job-completed.sh")))
    assert last.see(ended(pid))


def test_one_that_shows_no_environment(tmp_path: Path, start: Start) -> None:
    last, pid = step(tmp_path), start()
    assert proc.environ(pid) == b""
    assert not last.see(begun(pid))
    assert last.see(ended(pid))


def test_one_that_is_gone_at_once(tmp_path: Path) -> None:
    """Nobody can ask it any more whose it was; but none of ours is done so soon."""
    last = step(tmp_path)
    assert not last.see(begun(GONE))
    assert last.see(ended(GONE, after_ns=2_000_000))
    assert not last.see(begun(GONE))
    assert not last.see(ended(GONE, after_ns=SECOND))


def test_another_agent_s(tmp_path: Path, start: Start) -> None:
    """Only one that is there: a process can say of itself what it likes."""
    other, last = tmp_path / "job-2", step(tmp_path)
    other.mkdir()
    pid = start(STATE_run=str(other))
    for _ in "no agent is there":
        assert not last.see(begun(pid))
    assert last.see(ended(pid))
    with (other / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert not last.see(begun(pid))
        assert not last.see(ended(pid))
        elsewhere = start(STATE_run=f"{tmp_path}/job-1/../../{tmp_path.name}/x/../job-2/../x")
        assert not last.see(begun(elsewhere))
        assert last.see(ended(elsewhere))


def test_the_agent_ends_the_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    sensor = FakeSensor()

    def client(channel: Channel) -> None:
        arm(channel, request(worker_pid=worker.pid, hook=HOOK))
        last = begun(GONE, ppid=worker.pid)
        sensor.show(last, ended(GONE, after_ns=1))
        assert worker.wait(10) == -signal.SIGKILL

    try:
        Scene(tmp_path, [sensor]).play(client)
    finally:
        worker.kill()
        worker.wait()
    assert "ended without having asked for the report" in capfd.readouterr().err
    assert not os.path.exists(f"/proc/{worker.pid}")
