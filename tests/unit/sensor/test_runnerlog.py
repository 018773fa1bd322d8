# SPDX-License-Identifier: MIT
"""Steps are named by what the worker logged before it ran anything, and by nothing that a step
can write."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.worker import WORKFLOW, Job, Step, Worker, action, composite, script
from leakstop.model.event import Exec, StepSeen
from leakstop.model.process import Tag
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor import proc
from leakstop.sensor.runnerlog import NO_LOG, RunnerLog
from leakstop.sensor.timer import now_ns

GO = 'until [ -e "$GO" ]; do sleep 0.01; done\n'
WAIT = "while (!require('fs').existsSync(process.env.GO)) {}"
"""A step waits until the test lets it go."""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Scene:
    """A job whose steps wait, and what follows its log."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.go = directory / "go"
        self.told: list[tuple[int, tuple[str, ...]]] = []
        self.job: Job
        self.log: RunnerLog
        self.before, self.before_ns = 0, 0
        self.notes: tuple[str, ...] = ()
        self._close: Callable[[], None] = lambda: None

    def begin(self, *steps: Step, holds: bool = False, **more: Any) -> None:
        gate = self._directory / "gate"
        first = script(f'until [ -e "{gate}" ]; do sleep 0.01; done', "Before")
        named = [first, *steps]
        self.job = Worker(self._directory).start(named, env={"GO": str(self.go)}, **more)
        until(lambda: "Process started" in self.job.log.read_text())
        (self.before,), self.before_ns = self._children(), now_ns()
        self.log = RunnerLog(
            self.job.pid, str, name_step=lambda t, n: self.told.append((t, tuple(n))), holds=holds
        )
        self._close = self.log.close
        self.notes = self.log.start()
        gate.touch()

    def child(self, count: int = 1) -> list[int]:
        """Wait for the worker's next children."""
        found: list[int] = []

        def ready() -> bool:
            new = [pid for pid in self._children() if pid != self.before]
            found[:] = [pid for pid in new if b"GITHUB_ACTION=" in proc.environ(pid)]
            return len(found) >= count

        until(ready)
        return found

    def _children(self) -> Iterator[int]:
        for task in Path(f"/proc/{self.job.pid}/task").iterdir():  # listed with who made them
            with suppress(FileNotFoundError):
                yield from map(int, (task / "children").read_text().split())

    def exec(self, pid: int, *, tag: int = 0, held: bool = False) -> list[StepSeen]:
        stat = proc.stat(pid)  # rounded down, unlike what the kernel tells
        start_ns = stat[1] + proc.TICK_NS if stat else now_ns()
        if pid == self.before:  # it may be gone
            start_ns = self.before_ns
        event = Exec(
            ts_ns=1,
            pid=pid,
            ppid=self.job.pid,
            uid=0,
            exe="/bin/bash",
            argv=(),
            argv_bytes=0,
            truncated=False,
            start_ns=start_ns,
            tag=tag,
            held=held,
        )
        seen = list(self.log.see(event))
        assert all(isinstance(each, StepSeen) for each in seen)
        return [each for each in seen if isinstance(each, StepSeen)]

    def name(self, pid: int, **more: Any) -> StepSeen:
        (seen,) = self.exec(pid, **more)
        return seen

    def tampers(self) -> list[Tamper]:
        return [event for event in self.log.follow() if isinstance(event, Tamper)]

    def end(self) -> None:
        self.go.touch()
        if hasattr(self, "job"):
            self.job.wait()
        self._close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    try:
        yield made
    finally:
        made.end()


def as_other(script: str, *arguments: str | Path) -> int:
    """What another process than the worker does; its pid."""
    process = subprocess.Popen(["/bin/sh", "-c", script, "sh", *map(str, arguments)])
    assert process.wait() == 0
    return process.pid


def forge(log: Path, *names: str) -> int:
    head = "[2026-04-10 17:17:22Z INFO StepsRunner] "
    lines = [f"{head}Current state: job state = ''"]
    lines += [f"{head}Processing step: DisplayName='{name}'" for name in names]
    return as_other('printf "%s\n" "$2" >> "$1"', log, "\n".join([*lines, head]))


pytestmark = pytest.mark.root  # fanotify


def test_a_step_has_its_name_its_id_and_its_line(scene: Scene) -> None:
    scene.begin(script(GO, "Publish it", id="publish"))
    (pid,) = scene.child()
    assert scene.notes == ()
    assert scene.name(pid, tag=Tag.STEPS, held=True) == StepSeen(
        1, pid, "Publish it", ("Publish it", "publish"), "runner log", f"{WORKFLOW}:11"
    )
    assert scene.told == [(Tag.STEPS, ("Publish it", "publish"))]


def test_an_action_is_called_by_what_it_uses(scene: Scene, tmp_path: Path) -> None:
    main = tmp_path / "main.js"
    main.write_text(WAIT)
    scene.begin(action("acme/upload/sub@v1", {"main": main}))
    (pid,) = scene.child()
    assert scene.name(pid).names == ("Run acme/upload/sub@v1", "acme/upload/sub")


def test_embedded_steps_are_the_composite_s(scene: Scene) -> None:
    inner = script(GO, "Publish", id="publish")
    scene.begin(composite("acme/outer@v1", [inner], "Outer"), script(":", "Publish", id="publish"))
    (pid,) = scene.child()
    assert scene.name(pid).names == ("Outer", "acme/outer")


def test_parallel_steps_are_told_apart(scene: Scene) -> None:
    scene.begin(
        script(GO, "One", background=True),
        script(GO, "Two", id="two", background=True),
        script(GO, "Three"),
    )
    named = {scene.name(pid).names for pid in scene.child(3)}
    assert named == {("One",), ("Two", "two"), ("Three",)}


def test_a_post_is_shown_as_such_and_has_its_step_s_names(scene: Scene, tmp_path: Path) -> None:
    for name, text in (
        ("main", ""),
        ("post", "while (!require('fs').existsSync(process.env.GO)) {}"),
    ):
        (tmp_path / f"{name}.js").write_text(text)
    node = {phase: tmp_path / f"{phase}.js" for phase in ("main", "post")}
    scene.begin(action("acme/cache@v1", node, "Cache"))
    until(lambda: "Post Cache" in scene.job.log.read_text())
    (pid,) = scene.child()
    seen = scene.name(pid)
    assert (seen.step, seen.names) == ("Post Cache", ("Cache", "acme/cache"))


def test_a_name_that_is_an_expression_is_shown_and_gives_no_right(scene: Scene) -> None:
    def expression(message: dict[str, Any]) -> None:
        message["steps"][1]["displayNameToken"] = {"type": 3, "expr": "format('on {0}', x)"}

    scene.begin(script(GO, "on linux", id="build"), message=expression)
    (pid,) = scene.child()
    seen = scene.name(pid)
    assert (seen.step, seen.names) == ("on linux", ("build",))


def test_a_step_is_named_once(scene: Scene) -> None:
    """What it becomes has the environment that it gave itself."""
    become = f"[ -n \"$AGAIN\" ] || GITHUB_ACTION=publish AGAIN=1 exec bash -c '{GO}'\n"
    scene.begin(script(GO + become + "sleep 1", "Build"), script(":", "Publish", id="publish"))
    (pid,) = scene.child()
    assert scene.name(pid, tag=Tag.STEPS).names == ("Build",)
    assert scene.exec(pid, tag=Tag.STEPS) == []
    assert scene.exec(os.getpid(), tag=Tag.STEPS) == []  # as a child by CLONE_PARENT has it


def test_who_was_there_before_is_not_asked(scene: Scene) -> None:
    """An agent that is started again finds steps at work, with any environment by now."""
    scene.begin(script(":"))
    assert scene.exec(scene.before, tag=Tag.STEPS) == []
    assert scene.told == []


def test_who_was_stopped_and_let_go_by_another_does_not_become_another_step(scene: Scene) -> None:
    lie = f"export GITHUB_ACTION=publish\nexec bash -c '{GO}'"
    scene.begin(script(lie, "Build"), script(":", "Publish", id="publish"), holds=True)
    (pid,) = scene.child()
    until(lambda: b"GITHUB_ACTION=publish" in proc.environ(pid))
    assert scene.name(pid, tag=Tag.STEPS, held=True).names == ()


def test_who_was_not_stopped_needs_the_log_s_word_too(scene: Scene) -> None:
    lie = f"export GITHUB_ACTION=publish\nexec bash -c '{GO}'"
    scene.begin(script(lie, "Build"), script(":", "Publish", id="publish"), holds=True)
    (pid,) = scene.child()
    until(lambda: b"GITHUB_ACTION=publish" in proc.environ(pid))
    seen = scene.name(pid, tag=Tag.STEPS)
    assert seen.names == ()
    assert seen.step == "Publish (?)"
    assert scene.told == [(Tag.STEPS, ())]


def test_who_was_not_stopped_keeps_its_rights_if_the_log_agrees(scene: Scene) -> None:
    scene.begin(script(GO, "Build"), holds=True)
    (pid,) = scene.child()
    assert scene.name(pid).names == ("Build",)


def test_forged_lines_give_no_rights_and_are_a_finding(scene: Scene) -> None:
    scene.begin(script(GO, "Build"), script(":", "Publish", id="publish"), holds=True)
    (pid,) = scene.child()
    writer = forge(scene.job.log, "Publish")
    seen = scene.name(pid, held=True)
    assert (seen.step, seen.names) == ("Build", ("Build",))
    (tamper,) = scene.tampers()
    assert (tamper.pid, tamper.trick) == (writer, Trick.RUNNER_LOG)
    assert tamper.route == "written to"
    assert tamper.what == f"the runner's log {scene.job.log.name}"


def test_after_a_forgery_the_log_s_word_counts_nothing(scene: Scene) -> None:
    scene.begin(script(GO, "Build"), holds=True)
    (pid,) = scene.child()
    forge(scene.job.log, "Build")
    assert scene.name(pid).names == ()


def test_truncation_is_a_finding(scene: Scene) -> None:
    scene.begin(script(GO, "Build"))
    (pid,) = scene.child()
    writer = as_other('exec truncate -s 0 "$1"', scene.job.log)
    (tamper,) = scene.tampers()
    assert (tamper.pid, tamper.trick) == (writer, Trick.RUNNER_LOG)
    assert tamper.route == "cut short"
    assert scene.tampers() == []
    assert scene.name(pid).names == ("Build",)
    scene.end()
    assert scene.tampers() == []  # the worker goes on where it was, behind a hole


def test_a_log_cut_by_its_path_is_a_finding_without_a_writer(scene: Scene) -> None:
    scene.begin(script(GO, "Build"))
    scene.child()
    os.truncate(scene.job.log, 0)
    (tamper,) = scene.tampers()
    assert tamper.pid == 0
    assert tamper.route == "cut short"


def test_a_cut_is_seen_though_the_worker_wrote_on(scene: Scene) -> None:
    scene.begin(script(GO, "Build"))
    scene.child()
    os.truncate(scene.job.log, 100)
    scene.go.touch()
    scene.job.wait()
    (tamper,) = scene.tampers()
    assert tamper.route == "cut short"


def test_the_worker_s_own_writing_is_no_finding(scene: Scene) -> None:
    scene.begin(*(script(":", f"Step {number}") for number in range(20)))
    scene.job.wait()
    assert scene.tampers() == []


def test_who_only_reads_is_no_finding(scene: Scene) -> None:
    scene.begin(script(GO, "Build"))
    scene.child()
    as_other('cat "$1" > /dev/null', scene.job.log)
    assert scene.tampers() == []


def test_a_log_that_rolled_is_followed(scene: Scene) -> None:
    small = [script(":", f"Step {number}") for number in range(5)]
    scene.begin(script("sleep 0.3", "First"), *small, script(GO, "Last"), page_bytes=9000)
    assert scene.notes == ()
    until(lambda: scene.tampers() == [] and "'Last'" in scene.job.log.read_text())
    (pid,) = scene.child()
    assert len(list(scene.job.root.glob("_diag/Worker_*.log"))) > 1
    assert scene.name(pid).names == ("Last",)
    assert scene.log._told.going == "Last"
    writer = forge(scene.job.log, "Publish")
    assert [tamper.pid for tamper in scene.tampers()] == [writer]


def test_who_is_gone_by_then_is_named_by_the_log(scene: Scene) -> None:
    scene.begin(script("sleep 0.2", "Build"), script(GO, "Test"))
    (pid,) = scene.child()
    until(lambda: "'Test'" in scene.job.log.read_text() and not Path(f"/proc/{pid}").exists())
    (seen,) = scene.exec(pid, tag=Tag.STEPS)
    assert (seen.step, seen.names, seen.source) == ("Build", (), "runner log")
    assert scene.told == [(Tag.STEPS, ())]


def test_who_is_gone_before_the_log_has_it_is_named_later(scene: Scene) -> None:
    scene.begin(script(GO, "Build"))
    (pid,) = scene.child()
    absent = 4_000_000
    assert scene.exec(absent) == []
    assert list(scene.log.follow()) == []
    head = "[2026-04-10 17:17:22Z INFO ProcessInvokerWrapper] "
    scene.log._told.feed(f"{head}Process started with process id {absent}, \n{head}\n".encode())
    (seen,) = scene.log.follow()
    assert isinstance(seen, StepSeen)
    assert (seen.pid, seen.step) == (absent, "Build")
    assert scene.name(pid).step == "Build"


def test_without_a_plan_the_environment_names_and_that_is_said(scene: Scene) -> None:
    def unreadable(message: dict[str, Any]) -> None:
        message["steps"] = "***"

    scene.begin(script(GO, "Publish it", id="publish"), message=unreadable)
    (pid,) = scene.child()
    assert scene.notes == (NO_LOG,)
    seen = scene.name(pid)
    assert (seen.step, seen.names, seen.source) == ("publish", ("publish",), "environment")


def test_a_child_that_is_no_step_has_no_rights(scene: Scene) -> None:
    """A hook of the job, say: its environment has what earlier steps put there."""

    def another(message: dict[str, Any]) -> None:
        message["steps"][1]["name"] = "other"

    scene.begin(script(GO, "Build", id="publish"), message=another)
    (pid,) = scene.child()
    seen = scene.name(pid)
    assert (seen.step, seen.names) == ("Build (?)", ())


def test_without_a_worker_nothing_is_followed() -> None:
    log = RunnerLog(0, str)
    assert log.start() == ()
    assert list(log.follow()) == []
    log.close()


def test_a_worker_that_is_gone_is_no_fault(scene: Scene) -> None:
    scene.begin(script(":", "Build"))
    scene.job.wait()
    assert scene.tampers() == []
