# SPDX-License-Identifier: MIT
"""Sockets that were open before the guard get a note, and those of services are trusted."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab, cgroup
from lab.guard import AGENT
from lab.network import BARE
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.sensor.kernel import KernelSensor
from plans import plan_of

pytestmark = pytest.mark.root

OLDER, TRUSTED = 32, 64
JOB = "203.0.113.2"
NOTE_SIZE = 4096
"""More than the note has: the kernel writes as much as there is."""

Start = Callable[..., KernelSensor]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a guard of a cgroup of the test's own."""
    with cgroup.child() as path, contextlib.ExitStack() as cleanup:

        def begin(scope: str = "cgroup", worker_pid: int = 0, inside: int = 0) -> KernelSensor:
            """With ``inside`` that process and this one are in the cgroup as the guard begins."""
            policy, home = Policy(mode=Mode.BLOCK), cgroup.current()
            sensor = KernelSensor(
                plan_of(policy, scope=scope, cgroup=path, run_dir=tmp_path, worker_pid=worker_pid)
            )
            cleanup.callback(sensor.close)
            for pid in (inside, worker_pid, os.getpid()) if inside else ():
                (path / "cgroup.procs").write_text(str(pid))
            try:
                sensor.start()
            finally:
                (home / "cgroup.procs").write_text(str(os.getpid()))
            return sensor

        yield begin


def note(sensor: KernelSensor, sock: socket.socket) -> tuple[int, int] | None:
    """Owner and flags of a socket's note."""
    assert sensor._object is not None
    raw = sensor._object.map("socks").lookup(sock.fileno().to_bytes(4, "little"), NOTE_SIZE)
    return None if raw is None else struct.unpack_from("=II", raw)


@contextlib.contextmanager
def holder(sock: socket.socket, *, tracked: bool = False) -> Iterator[int]:
    """A child process that has ``sock`` open too."""
    environ = {"RUNNER_TRACKING_ID": "github_1"} if tracked else {}
    command = [sys.executable, "-c", "print(flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environ, pass_fds=[sock.fileno()], **pipes) as child:  # type: ignore[call-overload]
        child.stdout.readline()  # its environment is its own from here on
        try:
            yield child.pid
        finally:
            child.kill()


def test_every_socket_of_the_machine_gets_a_note(start: Start) -> None:
    made = [
        socket.socket(),
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    ]
    with contextlib.ExitStack() as stack:
        for sock in made:
            stack.enter_context(sock)
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        sensor = start()
        later = stack.enter_context(socket.socket())  # not in the guarded cgroup
        assert [note(sensor, sock) for sock in made] == [(os.getpid(), OLDER | TRUSTED)] * 3
        assert note(sensor, unix) is note(sensor, later) is None


def test_what_the_job_has_left_is_not_trusted(start: Start) -> None:
    """Above the worker and beside it is the machine, below it is the job."""
    with socket.socket() as ours, socket.socket() as shared, holder(shared) as below:
        sensor = start(worker_pid=os.getpid(), inside=below)
        assert note(sensor, ours) == (os.getpid(), OLDER | TRUSTED)
        assert note(sensor, shared) == (below, OLDER)


def test_what_a_step_left_behind_is_not_trusted(start: Start) -> None:
    with socket.socket() as left, subprocess.Popen(["sleep", "60"]) as worker:
        try:
            with holder(left, tracked=True) as pid:
                sensor = start(worker_pid=worker.pid, inside=pid)
                assert note(sensor, left) == (pid, OLDER)
        finally:
            worker.kill()


def test_without_a_worker_all_that_ran_before_is_trusted(start: Start) -> None:
    with socket.socket() as sock, holder(sock, tracked=True):
        seen = note(start(), sock)
        assert seen is not None and seen[1] == OLDER | TRUSTED


def test_the_cgroup_of_a_command_is_new(start: Start) -> None:
    with socket.socket() as sock:
        assert note(start(scope="command"), sock) is None


def test_a_thousand_sockets_take_no_time(start: Start) -> None:
    """The guard is being put in force meanwhile."""
    from leakstop.sensor import older

    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.socket()) for _ in range(900)]
        sensor = start()
        assert sensor._object is not None
        assert all(note(sensor, sock) for sock in made)
        began = time.monotonic()
        older.note_sockets(sensor._object)
        assert time.monotonic() - began < 0.5


# -- what becomes of a connection -------------------------------------------------------------

TALK = f"""\
import os, socket, sys, time
group, ready, go, says = sys.argv[1:]
with open(group + "/cgroup.procs", "w") as file:
    file.write("0")
with socket.create_connection(("{BARE}", 80), 5) as sock:
    sock.sendall(b"before")
    open(ready, "w").close()
    while not os.path.exists(go):
        time.sleep(0.01)
    try:
        sock.sendall(b"-after")
        time.sleep(0.3)
        sock.sendall(b"-and-more")
    except OSError as error:
        print(type(error).__name__)
with open(says, "w"):
    pass
"""


@pytest.mark.parametrize("of_the_job", [True, False])
def test_an_older_connection(lab: Lab, of_the_job: bool) -> None:
    """A leftover of an earlier step is judged by its address; a service goes on."""
    ready, go, says, run_dir = (lab.directory / name for name in ("ready", "go", "says", "agent"))
    policy = lab.directory / "ci.yml"
    policy.write_text("version: 1\nmode: block\nallow: home.test\n")
    with cgroup.child() as group:
        talk = [sys.executable, "-c", TALK, group, ready, go, says]
        # A worker, and what a step of it has left running; or beside a worker.
        wait = ["sh", "-c", '"$@" & wait', "sh"] if of_the_job else []
        program = lab.popen([*wait, *talk])
        worker = program if of_the_job else lab.popen(["sleep", "60"])
        wait_for(ready)
        arguments = ["--policy", policy, "--cgroup", group, "--worker", str(worker.pid)]
        leakstop(lab, "start", *arguments, "--run-dir", run_dir)
        go.touch()
        wait_for(says)
        if not of_the_job:
            worker.kill()
        leakstop(lab, "stop", "--run-dir", run_dir, "--report-dir", lab.directory / "out")
    report = json.loads((lab.directory / "out/report.json").read_text())
    denied = [(flow["ip"], flow["applied"]) for flow in report["flows"]]
    assert denied == ([(BARE, "deny")] if of_the_job else [])
    got = b"before" if of_the_job else b"before-after-and-more"
    assert [bytes(seen.wire) for seen in lab.collector.connections] == [got]


SERVE = """\
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
open(sys.argv[2], "w").close()
while True:
    connection, _ = listener.accept()
    connection.sendall(b"hello")
    connection.close()
"""


def test_who_listened_before_the_guard_goes_on_answering(lab: Lab) -> None:
    """So an administrator still gets in by ssh; a service that comes later needs a rule."""
    policy, run_dir = lab.directory / "ci.yml", lab.directory / "agent"
    policy.write_text("version: 1\nmode: block\nallow: home.test\n")

    def serve(port: int) -> None:
        ready = lab.directory / f"ready-{port}"
        lab.popen(cgroup.command_in(group, [sys.executable, "-c", SERVE, str(port), ready]))
        wait_for(ready)

    def visit(port: int) -> bytes:
        with socket.create_connection((JOB, port), 1) as sock:
            return sock.recv(5)

    with cgroup.child() as group:
        serve(2201)
        leakstop(lab, "start", "--policy", policy, "--cgroup", group, "--run-dir", run_dir)
        serve(2202)
        said = [lab.services.call(lambda: visit(2201)) for _ in range(2)]
        with contextlib.suppress(OSError):
            said.append(lab.services.call(lambda: visit(2202)))
        leakstop(lab, "stop", "--run-dir", run_dir, "--report-dir", lab.directory / "out")
    assert said == [b"hello", b"hello"]
    report = json.loads((lab.directory / "out/report.json").read_text())
    assert {flow["origin"] for flow in report["flows"] if flow["applied"] == "deny"} == {"accept"}


def leakstop(lab: Lab, *arguments: str | Path) -> None:
    """Run a subcommand; unlike ``lab.run`` while connections are open."""
    command = [sys.executable, "-m", "leakstop", *arguments]
    lab.popen(command, env={"PYTHONPATH": str(AGENT)}).wait(20)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.01)
