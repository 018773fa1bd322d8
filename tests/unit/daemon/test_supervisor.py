# SPDX-License-Identifier: MIT
"""Who starts the agent again, and when not: agents that are processes, and guard nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lab import cgroup
from leakstop.bpf import pins
from leakstop.daemon import lifeline as lifeline_module
from leakstop.daemon import supervisor as module
from leakstop.daemon.control import Channel
from leakstop.daemon.lifeline import Estate, Lifeline, Pulse
from leakstop.daemon.request import secret_to_json
from leakstop.daemon.supervisor import RESTARTS, Supervisor
from leakstop.secrets.inventory import Secret
from unit.daemon.scene import request

PATIENCE_S = 10
SECRETS = (Secret("FOUND", b"a value that was found"),)


class Told:
    """What the agents have to say, one after the other, in lines of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def say(self, text: str) -> None:
        with self._path.open("a") as file:
            file.write(text + "\n")

    @property
    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def wait_for(self, count: int) -> list[str]:
        """Wait until as many lines are there."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.lines) < count:
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.01)
        return self.lines


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "told")


@pytest.fixture(autouse=True)
def process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor is the test's own process: its memory and its signals stay as they are."""
    monkeypatch.setattr(module.memory, "protect", lambda: "")
    monkeypatch.setattr(module, "spare_from_oom", lambda: None)
    monkeypatch.setattr(module, "PAUSES_S", (0.0,) * RESTARTS)
    monkeypatch.setattr(module.signal, "signal", lambda *_: signal.SIG_DFL)


def supervise(tmp_path: Path, serve: Callable[[Lifeline], None]) -> int:
    return Supervisor(tmp_path, serve).run()


def arm(line: Lifeline, number: int = 1) -> None:
    """Do what an agent does that puts a guard in force."""
    line.arming(request(), number)
    line.armed(done=True)


def die(number: int = signal.SIGKILL) -> NoReturn:
    os.kill(os.getpid(), number)
    os._exit(99)


def stay(line: Lifeline, seconds: float = 60) -> None:
    """Go on, and hear what the supervisor says."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        line.beat()
        time.sleep(0.02)


def test_an_agent_that_ends_in_order_is_not_started_again(tmp_path: Path, told: Told) -> None:
    def serve(line: Lifeline) -> None:
        told.say("one")
        arm(line)

    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["one"]


def test_an_agent_that_dies_before_it_guards_anything_is_not(tmp_path: Path, told: Told) -> None:
    def serve(_: Lifeline) -> None:
        told.say("one")
        die()

    assert supervise(tmp_path, serve) == 128 + signal.SIGKILL
    assert told.lines == ["one"]


def test_nor_is_one_that_could_not_arm(tmp_path: Path, told: Told) -> None:
    def serve(line: Lifeline) -> None:
        told.say("one")
        line.arming(request(), 1)
        line.armed(done=False)
        die()

    assert supervise(tmp_path, serve) == 128 + signal.SIGKILL
    assert told.lines == ["one"]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (lambda: die(signal.SIGKILL), "the agent was killed by SIGKILL"),
        (lambda: die(signal.SIGHUP), "the agent was killed by SIGHUP"),
        (lambda: os._exit(3), "the agent ended with code 3"),
        (lambda: 1 / 0, "the agent ended with code 1"),
    ],
)
def test_the_next_one_gets_what_the_one_before_has_left(
    tmp_path: Path,
    told: Told,
    capfd: pytest.CaptureFixture[str],
    end: Callable[[], Any],
    why: str,
) -> None:
    def serve(line: Lifeline) -> None:
        estate = line.estate
        told.say(f"{bool(estate.request)} {estate.number} {estate.why} {estate.since_ns > 0}")
        if not estate.request:
            arm(line, 7)
            line.found(SECRETS)
            line.found(SECRETS)
            end()
        assert estate.request["settings"]["scope"] == "command"
        assert estate.found == [[secret_to_json(secret) for secret in SECRETS]], "once"

    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["False 0  False", f"True 7 {why} True"]
    assert why in capfd.readouterr().err


def test_its_last_words_are_heard(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies between two looks of its supervisor, right after it has said something."""
    reading, writing = os.pipe()
    waitid = os.waitid

    def die_first(kind: int, pid: int, options: int) -> object:
        if told.lines == ["armed"]:
            os.write(writing, b"x")
            waitid(kind, pid, os.WEXITED | os.WNOWAIT)
        return waitid(kind, pid, options)

    def serve(line: Lifeline) -> None:
        if line.estate.request:
            told.say(f"{len(line.estate.found)} found")
            return
        arm(line)
        told.say("armed")
        os.read(reading, 1)
        line.found(SECRETS)
        die()

    monkeypatch.setattr(module.os, "waitid", die_first)
    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["armed", "1 found"]
    os.close(reading)
    os.close(writing)


def test_what_was_found_for_a_guard_that_comes_is_the_nexts(tmp_path: Path, told: Told) -> None:
    """While one is replaced by another, what is found belongs to the new one."""

    def serve(line: Lifeline) -> None:
        if line.estate.request:
            told.say(f"{line.estate.number} {len(line.estate.found)}")
            return
        arm(line, 1)
        line.found([Secret("OLD", b"an older value")])
        line.arming(request(), 2)
        line.found(SECRETS)
        line.armed(done=True)
        die()

    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["2 1"]


def test_too_many_restarts_help_nobody(
    tmp_path: Path, told: Told, capfd: pytest.CaptureFixture[str]
) -> None:
    def serve(line: Lifeline) -> None:
        told.say("again")
        if not line.estate.request:
            arm(line)
        die()

    assert supervise(tmp_path, serve) == 128 + signal.SIGKILL
    assert len(told.lines) == 1 + RESTARTS
    assert "it is not started again: what is denied stays denied" in capfd.readouterr().err


def test_it_waits_longer_each_time(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends one agent may end the next one, too, for as long as it lasts."""
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.3, 0.6))

    def serve(line: Lifeline) -> None:
        told.say(str(time.monotonic()))
        if not line.estate.request:
            arm(line)
        if len(told.lines) <= 3:
            die()

    assert supervise(tmp_path, serve) == 0
    first, second, third, fourth = map(float, told.lines)
    assert second - first < 0.3 <= third - second
    assert fourth - third >= 0.6


def test_restarts_that_are_far_apart_are_not_too_many(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESTARTS_S", 0.0)

    def serve(line: Lifeline) -> None:
        told.say("again")
        if not line.estate.request:
            arm(line)
        if len(told.lines) <= RESTARTS + 3:
            die()

    assert supervise(tmp_path, serve) == 0
    assert len(told.lines) == RESTARTS + 4


def test_one_that_dies_while_it_ends_is_not_started_again(tmp_path: Path, told: Told) -> None:
    def serve(line: Lifeline) -> None:
        told.say("one")
        arm(line)
        line.ending()
        die()

    assert supervise(tmp_path, serve) == 128 + signal.SIGKILL
    assert told.lines == ["one"]


def test_one_that_is_stopped_is_let_go_on_and_told_since_when(tmp_path: Path, told: Told) -> None:
    def serve(line: Lifeline) -> None:
        arm(line)
        os.kill(os.getpid(), signal.SIGSTOP)
        line.hear()
        [(since_ns, why)] = line.gaps()
        told.say(f"{why} {since_ns > 0}")

    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["the agent was stopped True"]


def test_one_that_is_stopped_twice_is_replaced(tmp_path: Path, told: Told) -> None:
    def serve(line: Lifeline) -> None:
        if line.estate.request:
            told.say(line.estate.why)
            return
        arm(line)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGSTOP)
        told.say("it went on twice")

    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["the agent was stopped again"]


def test_one_that_does_not_go_on_is_replaced(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifeline_module, "PATIENCE_S", 0.3)

    def serve(line: Lifeline) -> None:
        if line.estate.request:
            told.say(line.estate.why)
            return
        arm(line)
        line.beat(0.3)
        time.sleep(60)

    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["the agent did not go on for 0 s"]


def test_one_that_goes_on_is_left_alone(tmp_path: Path, told: Told) -> None:
    def serve(line: Lifeline) -> None:
        told.say("one")
        arm(line)
        stay(line, 1.5)

    assert supervise(tmp_path, serve) == 0
    assert told.lines == ["one"]


@pytest.mark.root
def test_one_that_is_frozen_is_replaced(tmp_path: Path, told: Told) -> None:
    def freeze() -> None:
        pid = told.wait_for(1)[0]
        (freezer / "cgroup.procs").write_text(pid)
        (freezer / "cgroup.freeze").write_text("1")

    def serve(line: Lifeline) -> None:
        if line.estate.request:
            told.say(line.estate.why)
            return
        arm(line)
        told.say(str(os.getpid()))
        stay(line)

    with cgroup.child() as freezer:
        freezing = threading.Thread(target=freeze)
        freezing.start()
        assert supervise(tmp_path, serve) == 0
        freezing.join()
    assert told.lines[1:] == ["the agent was frozen"]


def pidfds() -> set[int]:
    """Descriptors of processes that this one has open."""
    found = set()
    for entry in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "\nPid:" in entry.read_text():
                found.add(int(entry.name))
    return found


def test_nothing_is_kept_of_one_that_cannot_be_killed(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen by cgroup v1, it would die only once it is let go on."""
    spared: list[int] = []
    monkeypatch.setattr(module, "_DYING_S", 0.0)
    monkeypatch.setattr(module.os, "kill", lambda pid, _: spared.append(pid))

    def serve(line: Lifeline) -> None:
        if line.estate.request:
            told.say(line.estate.why)
            return
        arm(line)
        line.beat(0.2)
        time.sleep(60)

    before = pidfds()
    assert supervise(tmp_path, serve) == 0
    monkeypatch.undo()
    os.kill(spared[0], signal.SIGKILL)
    os.waitpid(spared[0], 0)
    assert told.lines == ["the agent did not go on for 0 s"]
    assert pidfds() == before


def test_a_supervisor_that_was_held_up_blames_nobody(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen or starved with its agent, it finds an old beat, and lets the agent say so itself."""
    made = Supervisor(tmp_path, lambda line: told.say("one"))
    child = module._Child(os.getpid(), -1, None)
    monkeypatch.setattr(module, "is_frozen", lambda _: False)
    made._pulse.beat(0.0)
    time.sleep(0.01)
    assert "did not go on" in made._trouble(child, stopped=False)
    made._patient_until = time.monotonic() + 60
    assert made._trouble(child, stopped=False) == ""
    assert made._trouble(child, stopped=True) == "the agent was stopped again"


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Pins stand for files; how many of those that were handed out are still open."""
    opened: list[int] = []

    def held(_: Path) -> dict[str, int]:
        made = {name: os.open("/dev/null", os.O_RDONLY) for name in ("on_connect4", "maps/x")}
        opened.extend(made.values())
        return made

    def count() -> int:
        there = 0
        for descriptor in set(opened):
            with contextlib.suppress(OSError):
                os.fstat(descriptor)
                there += 1
        return there

    monkeypatch.setattr(pins, "held", held)
    yield count


def test_it_holds_what_is_in_force_until_the_guard_ends(
    tmp_path: Path, links: Callable[[], int]
) -> None:
    made = Supervisor(tmp_path, lambda _: None)
    wire = {"request": {"settings": {"worker_pid": 0}}, "number": 3}
    made._take({"what": "arming", **wire})
    assert links() == 0, "it may fail"
    made._take({"what": "armed", "done": True})
    assert set(made._estate.pinned) == {"on_connect4", "maps/x"}
    assert links() == 2
    made._hold()
    assert links() == 2, "what it holds already it holds once"
    made._take({"what": "attached"})
    assert links() == 2
    made._take({"what": "arming", **wire})
    made._take({"what": "armed", "done": False})
    assert (links(), made._estate.number) == (2, 3), "the one in force stays"
    made._take({"what": "ending"})
    assert links() == 0


def test_the_worker_is_the_one_that_was_there_in_the_beginning(
    tmp_path: Path, links: Callable[[], int]
) -> None:
    made = Supervisor(tmp_path, lambda _: None)
    settings = {"request": {"settings": {"worker_pid": os.getpid()}}, "number": 1}
    made._take({"what": "arming", **settings})
    made._take({"what": "armed", "done": True})
    worker = made._estate.worker
    assert worker >= 0
    made._hold()
    made._take({"what": "arming", **settings})
    made._take({"what": "armed", "done": True})
    assert made._estate.worker == worker, "its number may be another's by now"
    os.close(worker)
    made._release()


# -- the agent's end ------------------------------------------------------------------------


def ends() -> tuple[Lifeline, Channel]:
    ours, theirs = socket.socketpair()
    return Lifeline(ours, Pulse()), Channel(theirs)


def test_a_line_without_another_end_asks_nobody() -> None:
    line = Lifeline()
    line.arming(request(), 1)
    line.armed(done=True)
    line.found(SECRETS)
    line.ending()
    assert (line.fileno(), line.gaps(), line.estate) == (-1, [], Estate())


def test_a_supervisor_that_is_gone_keeps_no_agent_waiting() -> None:
    line, supervisor = ends()
    supervisor.close()
    line.arming(request(), 1)
    line.armed(done=True)
    line.ending()
    assert not line.hear()
    line.cut()
    assert line.fileno() == -1


def test_who_was_held_up_with_its_supervisor_notices_it() -> None:
    line, _ = ends()
    line.beat(0.0)
    time.sleep(0.01)
    line.beat()
    [(since_ns, why)] = line.gaps()
    assert since_ns > 0
    assert why == "the agent was held up"
    assert line.gaps() == [], "told once"
