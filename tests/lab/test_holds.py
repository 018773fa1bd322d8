# SPDX-License-Identifier: MIT
"""The kernel's table of owners, and the steps that are stopped until they have their names."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import cgroup
from leakstop.bpf import fill
from leakstop.bpf.libbpf import Object
from leakstop.model.coverage import Loss
from leakstop.model.event import Event, Exec, Fork
from leakstop.model.process import Tag
from leakstop.model.verdict import Action, Mode, RuleRef
from leakstop.policy.rules import AddressPlace, Policy, PortRange, Protocol, Rule, to_network
from leakstop.policy.scopes import Scope
from leakstop.sensor.kernel import KernelSensor
from plans import plan_of

pytestmark = pytest.mark.root

WORKER = """
import os, sys
for line in sys.stdin:
    print(os.spawnvp(os.P_NOWAIT, "sh", ["sh", "-c", line]), flush=True)
"""
LOST_S = 2.0
"""How long the agent believes that the event is still to come."""


class Guarded:
    """A guard that this process is the agent of, and a worker."""

    def __init__(self, group: Path, run_dir: Path) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = cgroup.command_in(group, [sys.executable, "-c", WORKER])
        self.worker: subprocess.Popen[str] = subprocess.Popen(command, **pipes)  # type: ignore[call-overload]
        self.events: list[Event] = []
        place = AddressPlace(to_network("192.0.2.1"))
        rule = Rule(
            *(Action.ALLOW, place, Protocol.TCP, (PortRange(443, 443),), RuleRef("", "")),
            scope=Scope(step=("publish",)),
        )
        policy = Policy(mode=Mode.BLOCK, rules=(rule,))
        self.sensor = KernelSensor(
            plan_of(
                policy, scope="cgroup", cgroup=group, run_dir=run_dir, worker_pid=self.worker.pid
            )
        )

    def begin(self, script: str) -> int:
        """Start a step; its pid."""
        assert self.worker.stdin is not None and self.worker.stdout is not None
        print(script, file=self.worker.stdin, flush=True)
        return int(self.worker.stdout.readline())

    def poll(self, until: Callable[[], bool]) -> None:
        """Be the agent until something holds, and of what was seen by then."""
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline, self.events[-5:]
            self.events += self.sensor.poll(0.02)
        self.events += self.sensor.poll(0.0)

    def owned(self) -> set[int]:
        """Processes that have an owner."""
        assert self.sensor._object is not None
        keys = self.sensor._object.map("owners").keys(4)
        return {int.from_bytes(key, "little") for key in keys}

    def close(self) -> None:
        """End it all."""
        self.sensor.close()
        self.worker.kill()
        self.worker.wait()


@pytest.fixture
def crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    """A guard whose table of owners is full from the beginning."""
    configure = fill.configure

    def small(target: Object, *arguments: Any, **options: Any) -> None:
        configure(target, *arguments, **options)
        target.map("owners").resize(1)

    monkeypatch.setattr(fill, "configure", small)
    with cgroup.child() as group, contextlib.closing(Guarded(group, tmp_path)) as made:
        made.sensor.start()
        yield made


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with cgroup.child() as group, contextlib.closing(Guarded(group, tmp_path)) as made:
        made.sensor.start()
        yield made


def state(pid: int) -> str:
    """As in /proc/PID/stat: ``T`` is stopped, ``Z`` and nothing are ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def is_over(pid: int) -> bool:
    return state(pid) in ("", "Z")


def test_a_step_waits_until_it_is_known_what_it_is_called(guarded: Guarded) -> None:
    pid = guarded.begin("exit 0")
    guarded.poll(lambda: is_over(pid))
    (held,) = [e for e in guarded.events if isinstance(e, Exec) and e.pid == pid]
    assert held.held and held.tag >= Tag.STEPS
    assert not any(isinstance(event, Loss) for event in guarded.events)


def test_a_step_whose_event_is_lost_waits_not_for_ever(guarded: Guarded) -> None:
    owners, told = guarded.sensor._owners, list[Event]()
    assert owners is not None
    pid = guarded.begin("exit 0")
    began = time.monotonic()
    while not is_over(pid):
        assert time.monotonic() - began < 2 * LOST_S
        told += owners.follow()
    assert [event.where for event in told if isinstance(event, Loss)] == ["names_of_steps"]


def test_only_its_first_program_waits(guarded: Guarded) -> None:
    pid = guarded.begin("exec sh -c 'sh -c true; exec true'")
    guarded.poll(lambda: is_over(pid))
    execs = [event for event in guarded.events if isinstance(event, Exec)]
    assert [event.held for event in execs if event.pid == pid] == [True, False, False]
    assert len({event.tag for event in execs}) == 1
    assert not any(event.held for event in execs if event.pid != pid)


def test_who_waits_goes_on_when_the_guard_ends(guarded: Guarded) -> None:
    pid = guarded.begin("exit 0")
    deadline = time.monotonic() + 10
    while state(pid) != "T":  # nobody is the agent meanwhile
        assert time.monotonic() < deadline
        time.sleep(0.01)
    guarded.sensor.close()
    while not is_over(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nobody_waits_for_an_agent_that_gives_no_sign(guarded: Guarded) -> None:
    time.sleep(1.2)
    pid = guarded.begin("exit 0")
    deadline = time.monotonic() + 10
    while not is_over(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_owner_is_left_of_a_process_that_has_ended(guarded: Guarded) -> None:
    """301 in, none left: whoever gets one of their numbers later is nobody's."""
    before = guarded.owned()
    pid = guarded.begin("for i in $(seq 150); do (sh -c true; true) & done; wait")
    guarded.poll(lambda: is_over(pid))
    made = {event.pid for event in guarded.events if isinstance(event, Exec)}
    assert len(made) > 150
    assert not guarded.owned() & made
    assert before <= guarded.owned() | {pid for pid in before if not Path(f"/proc/{pid}").exists()}


def test_who_has_no_room_in_the_table_has_no_owner(crowded: Guarded) -> None:
    """And so has the least right; what was lost is counted."""
    pid = crowded.begin("exit 0")
    crowded.poll(lambda: is_over(pid))
    crowded.poll(lambda: any(isinstance(event, Loss) for event in crowded.events))
    (born,) = [e for e in crowded.events if isinstance(e, Fork) and e.pid == pid]
    assert born.tag == Tag.UNKNOWN
    assert {e.where for e in crowded.events if isinstance(e, Loss)} == {"owners"}


def test_all_that_ran_before_has_an_owner(guarded: Guarded) -> None:
    tags = guarded.sensor._owners
    assert tags is not None
    worker = guarded.worker.pid
    assert tags.tag_of(worker) == Tag.RUNNER
    assert tags.tag_of(worker, start_ns=1) == Tag.UNKNOWN
    assert guarded.owned() == {worker}, "who is outside of the guarded cgroup is nobody's"
