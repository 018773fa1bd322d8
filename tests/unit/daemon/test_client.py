# SPDX-License-Identifier: MIT
"""Asking an agent that lives, one that ended, and one that died."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leakstop.daemon import client, lifecycle
from leakstop.daemon.agent import Agent
from leakstop.daemon.client import AgentClient
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifecycle import RunDir
from leakstop.errors import CoverageError, ExitCode
from leakstop.model.event import Event
from story import REFUSED, connects, fork, started
from unit.daemon.scene import FakeSensor, Scene, make_policy, request

POLICY = make_policy()
SEEN: tuple[Event, ...] = (
    started(POLICY.mode, ts_ns=1, policy_digest=POLICY.digest),
    fork(20, 1),
    connects(20, "203.0.113.9", 443, REFUSED, ts_ns=2),
)

Launch = Callable[[], int]


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "agent")


@pytest.fixture
def launch(run_dir: RunDir) -> Iterator[Launch]:
    """Start an agent in a process of its own."""
    pids: list[int] = []

    def serve() -> int:
        run_dir.claim()
        scene = Scene(run_dir.path, [FakeSensor(SEEN), FakeSensor(SEEN)])
        journal = Journal.create(run_dir.journal)
        agent = Agent(run_dir.path, journal, scene.raise_guard, journal_path=run_dir.journal)
        with run_dir.listen() as listener:
            agent.serve(listener=listener)
        return 0

    def start() -> int:
        pids.append(lifecycle.fork_agent(serve))
        return pids[-1]

    yield start
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def connect(run_dir: RunDir) -> AgentClient:
    return AgentClient.connect(run_dir.path, patience_s=5)


def test_an_agent_that_lives_is_asked(run_dir: RunDir, launch: Launch) -> None:
    launch()
    agent = connect(run_dir)
    assert agent.arm(request(POLICY)) == {"ok": True, "mode": "block", "note": ""}
    assert agent.status()["state"] == "armed"
    assert client.report(run_dir.path).exit_code is ExitCode.DENIED
    assert agent.status()["state"] == "armed"
    final = client.finish(run_dir.path)
    assert final.exit_code is ExitCode.DENIED
    assert not final.coverage.agent_died


def test_an_agent_that_ended_has_left_its_report(run_dir: RunDir, launch: Launch) -> None:
    pid = launch()
    connect(run_dir).arm(request(POLICY))
    final = client.finish(run_dir.path)
    os.waitpid(pid, 0)
    assert client.report(run_dir.path) == final
    assert client.finish(run_dir.path) == final


def test_an_agent_that_listens_no_more_has_left_its_report(run_dir: RunDir, launch: Launch) -> None:
    pid = launch()
    connect(run_dir).arm(request(POLICY))
    final = client.finish(run_dir.path)
    os.waitpid(pid, 0)
    run_dir.control.unlink()
    with (run_dir.path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = threading.Timer(0.2, fcntl.flock, (lock, fcntl.LOCK_UN))
        release.start()
        assert client.report(run_dir.path) == final
        release.join()


def test_the_words_of_a_guard_outlive_it(run_dir: RunDir, launch: Launch) -> None:
    assert client.words(run_dir.path) == ""
    pid = launch()
    agent = connect(run_dir)
    agent.arm(request(POLICY))
    agent.teach("first")
    assert client.words(run_dir.path) == "first"
    client.finish(run_dir.path)
    os.waitpid(pid, 0)
    assert client.words(run_dir.path) == "first"


def test_an_agent_that_was_killed_is_lost_coverage(run_dir: RunDir, launch: Launch) -> None:
    pid = launch()
    agent = connect(run_dir)
    agent.arm(request(POLICY))
    agent.report()  # everything that was seen is in the journal now
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    for ask in (client.report, client.finish):
        folded = ask(run_dir.path)
        assert folded.exit_code is ExitCode.COVERAGE
        assert folded.coverage.agent_died
        assert [flow.ip for flow in folded.flows] == ["203.0.113.9"]


def test_an_agent_that_was_killed_unarmed_has_no_report(run_dir: RunDir, launch: Launch) -> None:
    pid = launch()
    connect(run_dir)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with pytest.raises(CoverageError, match="no record"):
        client.finish(run_dir.path)


def test_where_no_agent_is_that_is_said_after_the_patience(run_dir: RunDir) -> None:
    began = time.monotonic()
    with pytest.raises(CoverageError, match="no agent answers") as caught:
        AgentClient.connect(run_dir.path, patience_s=0.05)
    assert 0.05 <= time.monotonic() - began < 2
    assert caught.value.exit_code is ExitCode.COVERAGE


def test_a_second_agent_starts_after_the_first_ended(run_dir: RunDir, launch: Launch) -> None:
    pid = launch()
    connect(run_dir).arm(request(POLICY))
    client.finish(run_dir.path)
    os.waitpid(pid, 0)
    launch()
    agent = connect(run_dir)
    assert agent.status()["state"] == "waiting"


def test_a_peer_of_another_user_is_turned_away(
    run_dir: RunDir, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leakstop.daemon.control.peer_uid", lambda _: 4711)
    launch()
    agent = connect(run_dir)
    with pytest.raises(CoverageError):
        agent.status()


def test_a_crowd_of_silent_peers_locks_nobody_out(run_dir: RunDir, launch: Launch) -> None:
    launch()
    connect(run_dir).arm(request(POLICY))
    crowd = [connect(run_dir) for _ in range(100)]
    assert connect(run_dir).status()["state"] == "armed"
    with pytest.raises(CoverageError):
        crowd[0].status()
    assert client.finish(run_dir.path).exit_code is ExitCode.DENIED
