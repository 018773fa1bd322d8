# SPDX-License-Identifier: MIT
"""Run directories: one agent each, nobody else's, and what dies there can be seen to be dead."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from leakstop.cli.main import main
from leakstop.daemon import lifecycle
from leakstop.daemon.client import AgentClient
from leakstop.daemon.lifecycle import RunDir, base_dir, fork_agent, fresh_name, machine_dir
from leakstop.errors import ExitCode, UnsupportedError, UsageError


def test_a_run_directory_is_private(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "base" / "one")
    run_dir.claim()
    assert stat.S_IMODE(run_dir.path.stat().st_mode) == 0o700
    assert run_dir.alive()


def test_two_agents_do_not_share_one(tmp_path: Path) -> None:
    first, second = RunDir(tmp_path / "one"), RunDir(tmp_path / "one")
    first.claim()
    with pytest.raises(UsageError, match="another agent") as caught:
        second.claim()
    assert caught.value.exit_code is ExitCode.USAGE
    assert "--run-dir" in caught.value.fix
    RunDir(tmp_path / "two").claim()


def test_an_agent_that_died_is_not_alive_and_leaves_no_stale_files(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "one")
    child = fork_agent(lambda: (run_dir.claim(), run_dir.final.write_text("{}"), 0)[2])
    os.waitpid(child, 0)
    assert run_dir.final.exists()
    assert not run_dir.alive()
    run_dir.claim()
    assert not run_dir.final.exists()


def test_a_directory_that_never_was_is_not_alive(tmp_path: Path) -> None:
    assert not RunDir(tmp_path / "none").alive()


@pytest.mark.root
def test_the_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    for path in (tmp_path / "theirs", tmp_path / "theirs" / "below"):
        with pytest.raises(UsageError, match="another user"):
            RunDir(path).claim()


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="another user"):
        RunDir(tmp_path / "link").claim()


@pytest.mark.root
def test_the_group_may_connect_and_read_but_not_write(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "one")
    run_dir.claim(65534)
    with run_dir.listen(65534):
        found = run_dir.control.stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 0o660)
        found = run_dir.path.stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 0o2750)


def test_a_socket_without_a_group_is_ours_alone(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "one")
    run_dir.claim()
    with run_dir.listen():
        assert stat.S_IMODE(run_dir.control.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(run_dir.control))


def test_a_path_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / ("x" * 120))
    run_dir.claim()
    with pytest.raises(UsageError, match="control socket") as caught:
        run_dir.listen()
    assert "107" in caught.value.fix


def test_a_directory_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "one")
    run_dir.claim()
    run_dir.remove()
    assert not run_dir.path.exists()


class Remains:
    """What a client and an agent that were killed together leave behind."""

    def __init__(self, base: Path, client: int) -> None:
        self.run_dir = RunDir(base / f"run-{client}-0a1b2c3d")
        self.run_dir.path.mkdir(parents=True)
        (self.run_dir.path / "lock").touch()
        self.group = base.parent / f"leakstop-{self.run_dir.path.name}"
        self.group.mkdir()
        self.run_dir.cgroup.symlink_to(self.group)

    @property
    def are_there(self) -> bool:
        assert self.run_dir.path.exists() == self.group.exists()
        return self.group.exists()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lifecycle, "_ROOT_BASE", tmp_path / "base")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "base"


@pytest.fixture
def gone() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_the_dead_left_is_swept_away(base: Path, gone: int) -> None:
    remains = Remains(base, gone)
    lifecycle.sweep_dead()
    assert not remains.are_there


def test_what_belongs_to_somebody_alive_stays(base: Path, gone: int) -> None:
    of_client, of_agent = Remains(base, os.getpid()), Remains(base, gone)
    with (of_agent.run_dir.path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lifecycle.sweep_dead()
        assert of_client.are_there
        assert of_agent.are_there


def test_while_a_process_of_the_command_lives_its_guard_stays(base: Path, gone: int) -> None:
    remains = Remains(base, gone)
    (remains.group / "busy").touch()  # as the kernel does, rmdir refuses
    lifecycle.sweep_dead()
    assert remains.are_there
    (remains.group / "busy").unlink()
    lifecycle.sweep_dead()
    assert not remains.are_there


def test_guards_that_were_started_on_purpose_are_left_alone(base: Path) -> None:
    (base / "machine").mkdir(parents=True)
    (base / "job-0a1b").mkdir()
    lifecycle.sweep_dead()
    assert sorted(path.name for path in base.iterdir()) == ["job-0a1b", "machine"]


def test_start_sweeps_too(base: Path, gone: int, tmp_path: Path) -> None:
    remains = Remains(base, gone)
    policy = str(tmp_path / "not-there.yml")
    arguments = ["start", "--run-dir", str(tmp_path / "run"), "--policy", policy]
    assert main(arguments) == ExitCode.POLICY
    assert not remains.are_there


def test_names_are_not_used_twice() -> None:
    assert len({fresh_name() for _ in range(100)}) == 100


def test_where_run_directories_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle.os, "geteuid", lambda: 0)
    assert machine_dir() == Path("/run/leakstop/machine")
    monkeypatch.setattr(lifecycle.os, "geteuid", lambda: 1001)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1001")
    assert base_dir() == Path("/run/user/1001/leakstop-1001")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert base_dir() == Path("/tmp/leakstop-1001")


def test_an_agent_that_fails_says_so_and_returns_one(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise RuntimeError("at hand")

    _, status = os.waitpid(fork_agent(fail), 0)
    assert os.waitstatus_to_exitcode(status) == 1
    said = capfd.readouterr().err
    assert "the agent ended: RuntimeError\n" in said
    assert "in fail\n" in said
    assert "at hand" not in said


def test_an_agent_has_a_session_of_its_own(tmp_path: Path) -> None:
    child = fork_agent(lambda: (tmp_path / "sid").write_text(str(os.getsid(0))) and 0)
    os.waitpid(child, 0)
    assert int((tmp_path / "sid").read_text()) == child != os.getsid(0)


@pytest.mark.root
def test_where_systemd_runs_the_agent_is_a_unit_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for systemd-run that does what it is told to start."""
    told = tmp_path / "told"
    stand_in = tmp_path / "systemd-run"
    stand_in.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\n'
        'while [ "$1" != -- ]; do shift; done; shift\n"$@" >/dev/null 2>&1 </dev/null &\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setattr(lifecycle, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(lifecycle, "_SYSTEMD_RUN", str(stand_in))
    run_dir = RunDir(tmp_path / "agent")
    lifecycle.detach(run_dir, 65534, 65534, lambda: pytest.fail("a unit, not a fork"))
    agent = AgentClient.connect(run_dir.path, patience_s=20)
    status = agent.status()
    try:
        assert status["state"] == "waiting"
        assert run_dir.control.stat().st_gid == 65534
        words = told.read_text().splitlines()
        assert "--property=Type=exec" in words
        assert "--collect" in words
        assert words[words.index("--") + 2 :][:2] == ["-I", "-B"]
    finally:
        os.kill(status["pid"], signal.SIGTERM)


@pytest.mark.root
def test_a_systemd_that_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "systemd-run"
    stand_in.write_text("#!/bin/sh\necho 'no bus' >&2; exit 1\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(lifecycle, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(lifecycle, "_SYSTEMD_RUN", str(stand_in))
    with pytest.raises(UnsupportedError, match="systemd") as caught:
        lifecycle.detach(RunDir(tmp_path / "agent"), 0, -1, lambda: 0)
    assert caught.value.why == "no bus"
