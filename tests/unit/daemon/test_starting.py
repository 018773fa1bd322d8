# SPDX-License-Identifier: MIT
"""An agent is started when there is memory for it, and has the time to take over."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from leakstop.daemon import lifeline, resume, supervisor
from leakstop.daemon.agent import Agent
from leakstop.daemon.assemble import raise_guard
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifeline import ARMING_S, Lifeline, Pulse
from leakstop.daemon.supervisor import Supervisor

SERVED = 0


def serve(_: Lifeline) -> None:
    """Does nothing, successfully."""


def guarding(run_dir: Path, serve: Callable[[Lifeline], None] = serve) -> Supervisor:
    made = Supervisor(run_dir, serve)
    made._estate.request = {"settings": {}}
    return made


def failing(times: int, call: Callable[..., int]) -> Callable[..., int]:
    """Like ``call``, once there is memory."""
    left = [OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))] * times

    def made(*arguments: int) -> int:
        if left:
            raise left.pop()
        return call(*arguments)

    return made


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "TICK_S", 0.001)


def test_a_fork_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "fork", failing(3, os.fork))
    child = guarding(tmp_path)._start()
    assert os.waitpid(child.pid, 0) == (child.pid, SERVED)
    said = capfd.readouterr().err.splitlines()
    assert said == ["leakstop: no agent can be started: Cannot allocate memory; it is tried again"]


def test_an_agent_that_cannot_be_watched_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    descriptor = os.pidfd_open

    def open_(pid: int) -> int:
        opened.append(pid)
        if len(opened) == 1:
            raise OSError(errno.ENOMEM, "no memory")
        return descriptor(pid)

    monkeypatch.setattr(os, "pidfd_open", open_)
    child = guarding(tmp_path, lambda _: signal.pause())._start()
    try:
        assert len(opened) == 2
        assert child.pid == opened[1]
        assert not Path(f"/proc/{opened[0]}").exists()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def test_where_nothing_is_guarded_yet_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fork", failing(1, os.fork))
    with pytest.raises(OSError, match="Cannot allocate memory"):
        Supervisor(tmp_path, serve)._start()


def test_who_takes_over_has_as_long_as_who_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs are loaded, and a long journal is read: more than a silence of ten seconds."""
    pulse = Pulse()
    line = Lifeline(pulse=pulse)
    line.estate.request = {"settings": {}}
    path = tmp_path / "events.ndjson"
    agent = Agent(
        tmp_path, Journal.create(path), raise_guard, journal_path=path, owner_uid=0, lifeline=line
    )

    def resume_(*_: object) -> None:
        monkeypatch.setattr(lifeline, "now_ns", lambda: pulse.last_ns + later)
        raise EOFError

    monkeypatch.setattr(resume, "resume", resume_)
    later = int((ARMING_S - 1) * 1e9)
    with pytest.raises(EOFError):
        agent.serve()
    assert not pulse.overdue
