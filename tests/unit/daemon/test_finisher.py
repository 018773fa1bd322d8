# SPDX-License-Identifier: MIT
"""Who may end a guard: real processes that ask, below a worker and beside it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from leakstop.daemon import control, finisher
from leakstop.daemon.finisher import GONE, KEYLESS, OF_THE_JOB, Refused, Rules, is_roots
from leakstop.engine.lineage import Lineage
from story import execs, fork, started
from unit.daemon.scene import request

pytestmark = pytest.mark.root  # who asks is root, or may be

KEY = secrets.token_hex(8)
NODE = os.path.realpath(sys.executable)
"""Stands for the runner's node; its scripts are in Python here."""
WORKER = """
import json, subprocess, sys
for line in sys.stdin:
    print(subprocess.Popen(json.loads(line)).pid, flush=True)
"""
ASK = """
import os, socket, sys
there = socket.socket(socket.AF_UNIX)
there.connect({place!r})
there.recv(1)
"""
HOOK = """
import subprocess, sys
subprocess.run({command!r})
"""


@dataclass
class Job:
    """A worker, and an agent's door."""

    directory: Path
    worker: subprocess.Popen[str]
    door: socket.socket
    known: Lineage = field(default_factory=Lineage)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def dist(self) -> Path:
        return self.directory / "action" / "dist"

    @property
    def program(self) -> Path:
        """Stands for the package: what asks."""
        return self.directory / "action" / "leakstop" / "__main__.py"

    def hook(self, phase: str, *, argv: list[str] | None = None) -> list[str]:
        """The script of a phase, as the runner starts it."""
        script = self.dist / f"{phase}.js"
        command = argv or [sys.executable, "-I", "-B", str(self.program), "hook", phase]
        script.write_text(HOOK.format(command=command))
        return [NODE, str(script)]

    def step(self, *argv: str) -> int:
        """Let the worker start a program; its pid."""
        assert self.worker.stdin is not None and self.worker.stdout is not None
        print(json.dumps(argv), file=self.worker.stdin, flush=True)
        pid = int(self.worker.stdout.readline())
        self.known.forked(fork(pid, self.worker.pid))
        return pid

    def asks(self, question: str = "finish", key: str = KEY, *, uid: int = 0) -> str:
        """Why the one at the door may not; empty if he may."""
        connection, _ = self.door.accept()
        with connection:
            return self.judged(connection, question, key, uid)

    def judged(self, connection: socket.socket, question: str, key: str, uid: int = 0) -> str:
        asked = request(
            worker_pid=self.worker.pid,
            finish_key=KEY,
            hook=str(self.dist),
            node=NODE,
            **self.more,
        )
        peer = control.peer_pid(connection)
        try:
            Rules(asked, uid, self.known).require(connection, question, key)
        except Refused as error:
            assert error.pid == peer
            assert error.of_job == (error.why != KEYLESS)
            return error.why
        return ""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    place = tmp_path / "door"
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(place))
    door.listen()
    door.settimeout(10)
    command = [sys.executable, "-c", WORKER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        made = Job(tmp_path, worker, door)
        made.known.begin(started(worker_pid=worker.pid, scope="machine"))
        made.dist.mkdir(parents=True)
        made.program.parent.mkdir()
        made.program.write_text(ASK.format(place=str(place)))
        monkeypatch.setattr(finisher, "_PACKAGE", made.program.parent)
        yield made
        worker.kill()
    door.close()


def ask(job: Job) -> list[str]:
    """A program that asks."""
    return [sys.executable, str(job.program)]


# -- the hook -------------------------------------------------------------------------------


def test_the_hook_may(job: Job) -> None:
    job.step(*job.hook("post"))
    assert job.asks() == ""


@pytest.mark.parametrize("phase", ["pre", "main"])
def test_its_earlier_phases_may_arm(job: Job, phase: str) -> None:
    job.step(*job.hook(phase))
    assert job.asks("arm") == ""


@pytest.mark.parametrize(
    ("phase", "question"), [("post", "arm"), ("pre", "finish"), ("main", "finish")]
)
def test_each_phase_may_do_its_own_only(job: Job, phase: str, question: str) -> None:
    job.step(*job.hook(phase))
    assert job.asks(question) == OF_THE_JOB


def test_words_only_explain(job: Job) -> None:
    job.step(*ask(job))
    assert job.asks("words") == ""


def test_without_the_key_it_is_not_the_hook(job: Job) -> None:
    job.step(*job.hook("post"))
    assert job.asks(key="") == KEYLESS


@pytest.mark.parametrize("uid", [0, 1001])
def test_the_key_alone_is_not_enough_in_the_job(
    job: Job, uid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda _: uid)
    job.step(*ask(job))
    assert job.asks(uid=uid) == OF_THE_JOB


@pytest.mark.parametrize(
    "change",
    [
        lambda argv: argv[:1] + argv[2:],
        lambda argv: [*argv, "more"],
        lambda argv: [*argv[:-1], "main"],
        lambda argv: [argv[0], "-s", *argv[2:]],
    ],
    ids=["not isolated", "more arguments", "another phase", "another option"],
)
def test_python_that_was_started_in_another_way(job: Job, change: Any) -> None:
    argv = change([sys.executable, "-I", "-B", str(job.program), "hook", "post"])
    job.step(*job.hook("post", argv=argv))
    assert job.asks() == OF_THE_JOB


def test_another_program_with_the_same_words(job: Job) -> None:
    other = job.directory / "other.py"
    other.write_text(job.program.read_text())
    job.step(*job.hook("post", argv=[sys.executable, "-I", "-B", str(other), "hook", "post"]))
    assert job.asks() == OF_THE_JOB


def test_another_node(job: Job) -> None:
    script = job.hook("post")[1]
    Path(script).write_text(f"{sys.executable} -I -B {job.program} hook post; :")
    job.step("bash", script)
    assert job.asks() == OF_THE_JOB


def test_another_script_of_the_same_node(job: Job) -> None:
    job.hook("post")
    forged = job.directory / "post.js"
    forged.write_text((job.dist / "post.js").read_text())
    job.step(NODE, str(forged))
    assert job.asks() == OF_THE_JOB


def test_a_hook_that_a_step_starts(job: Job) -> None:
    job.step("sh", "-c", '"$@"; :', "sh", *job.hook("post"))
    assert job.asks() == OF_THE_JOB


# -- others ---------------------------------------------------------------------------------


def test_root_outside_of_the_job_may(job: Job) -> None:
    with subprocess.Popen(ask(job)):
        assert job.asks(key="") == ""


def test_who_has_the_key_outside_of_the_job_may(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda _: 1001)
    for key, why in ((KEY, ""), ("", KEYLESS), (KEY[:-1], KEYLESS)):
        with subprocess.Popen(ask(job)):
            assert job.asks(key=key, uid=1001) == why
    with subprocess.Popen(ask(job)):
        assert job.asks(uid=1002) == KEYLESS, "another user than the owner"


def test_who_has_left_its_parents_belongs_to_the_job_still(job: Job) -> None:
    """Twice forked, a child of init: what the kernel told of forks is known."""
    leave = "import os\nif os.fork(): os._exit(0)\nos.setsid()\n"
    script = leave + job.program.read_text()
    first = job.step(sys.executable, "-c", script)
    connection, _ = job.door.accept()
    with connection:
        peer = control.peer_pid(connection)
        while Path(f"/proc/{peer}/stat").read_text().split()[3] == str(first):
            pass
        assert job.judged(connection, "finish", KEY) == "", "of whom nothing is known"
        job.known.forked(fork(peer, first))
        assert job.judged(connection, "finish", KEY) == OF_THE_JOB


def test_who_is_gone_is_nobody(job: Job) -> None:
    with subprocess.Popen(ask(job)) as asker:
        connection, _ = job.door.accept()
        asker.kill()
    with connection:
        assert job.judged(connection, "finish", KEY) == GONE


def test_who_becomes_another_meanwhile_is_nobody(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is another process's by the time that the second look is taken."""
    monkeypatch.setattr(finisher, "_start", lambda pid: 1)
    with subprocess.Popen(ask(job)):
        assert job.asks() == GONE


# -- the finisher ---------------------------------------------------------------------------


@pytest.fixture
def script(job: Job) -> Path:
    made = job.directory / "finish.sh"
    made.write_text("true")
    made.chmod(0o755)
    job.more["finisher"] = str(made)
    return made


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (["{script}"], ""),
        (["/usr/bin/bash", "-e", "{script}"], ""),
        (["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{script}"], ""),
        (["sh", "{script}"], ""),
        (["bash", "-x", "{script}"], OF_THE_JOB),
        (["bash", "-e", "{script}", "more"], OF_THE_JOB),
        (["bash", "-c", "{script}"], OF_THE_JOB),
        (["env", "{script}"], OF_THE_JOB),
        (["bash", "-e", "/other.sh"], OF_THE_JOB),
        ([], OF_THE_JOB),
    ],
)
def test_the_first_program_of_a_child_of_the_worker_decides(
    job: Job, script: Path, first: list[str], why: str
) -> None:
    """That is the runner's choice. What a process says of itself later is not asked."""
    pid = job.step(*ask(job))
    argv = [word.format(script=script) for word in first]
    for said in (argv, ["bash", "-e", str(script)]) if argv else ():
        job.known.became(execs(pid, said[0], *said, ppid=job.worker.pid))
    assert job.asks(key="") == why


def test_it_ends_and_changes_nothing(job: Job, script: Path) -> None:
    pid = job.step(*ask(job))
    job.known.became(execs(pid, str(script), str(script), ppid=job.worker.pid))
    assert job.asks("arm") == OF_THE_JOB


def test_a_finisher_that_others_can_change_is_none(job: Job, script: Path) -> None:
    script.chmod(0o777)
    pid = job.step(*ask(job))
    job.known.became(execs(pid, str(script), str(script), ppid=job.worker.pid))
    assert job.asks() == OF_THE_JOB


@pytest.mark.parametrize(
    ("spoil", "fine"),
    [
        (lambda d: None, True),
        (lambda d: (d / "file").chmod(0o775), False),
        (lambda d: d.chmod(0o757), False),
        (lambda d: d.chmod(0o1757), True),
        (lambda d: os.chown(d / "file", 1001, 0), False),
        (lambda d: os.chown(d, 1001, 0), False),
        (lambda d: (d / "file").unlink(), False),
    ],
    ids=["roots", "group", "directory", "sticky", "owner", "directory's owner", "gone"],
)
def test_what_only_root_can_change(tmp_path: Path, spoil: Any, fine: bool) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    (place / "file").write_text("x")
    (tmp_path / "link").symlink_to("place/file")
    spoil(place)
    assert is_roots(place / "file") == is_roots(tmp_path / "link") == fine


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert not is_roots(tmp_path / "a")
