# SPDX-License-Identifier: MIT
"""A guard of a cgroup of the test's own, with stand-ins for the worker and for a second agent.

The test's own process is the agent. Nobody lays hands on that one: a signal that arrives would
end the tests, so ``other_agent`` stands for it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import cgroup
from leakstop.bpf.values import Owner, Protected
from leakstop.model.event import Event
from leakstop.model.process import Tag
from leakstop.model.tamper import Tamper, Trick
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.sensor.kernel import KernelSensor
from leakstop.sensor.protected import protect
from plans import plan_of

KILLED = -9
# One thread more than the first one, whose memory is the same.
_STAND_IN = """
import os, threading, time
value = bytearray(b"held in memory")
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(*os.listdir("/proc/self/task"), id(value), flush=True)
time.sleep(60)
"""


@dataclass(frozen=True)
class StandIn:
    """A process that waits to be attacked."""

    process: subprocess.Popen[str]
    threads: tuple[int, ...]
    address: int
    """Where it has something in its memory."""

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass
class Scene:
    """A guard in force, and those whom it protects."""

    sensor: KernelSensor
    group: Path
    worker: StandIn
    other_agent: StandIn
    seen: list[Event] = field(default_factory=list)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the job."""
        done = cgroup.run_in(self.group, command)
        self.seen += self.sensor.poll(0.05)
        return done

    def python(self, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a program of the job."""
        return self.run(sys.executable, "-c", code, *map(str, arguments))

    def own(self, process: int, tag: Tag) -> None:
        """Say whose a process is, as lineage does."""
        assert self.sensor._object is not None
        owners = self.sensor._object.map("owners")
        owners.update(process.to_bytes(4, "little"), bytes(Owner(tag=tag)))

    def tampers(self, *tricks: Trick) -> list[Tamper]:
        """What was seen."""
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline and not self._found(tricks):
            self.seen += self.sensor.poll(0.05)
        return self._found(tricks)

    def _found(self, tricks: Sequence[Trick]) -> list[Tamper]:
        return [e for e in self.seen if isinstance(e, Tamper) and (not tricks or e.trick in tricks)]


@contextlib.contextmanager
def scene(run_dir: Path, mode: Mode = Mode.BLOCK) -> Iterator[Scene]:
    """Set it up, and take it down."""
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(cgroup.child())
        worker = stack.enter_context(_stand_in(group))
        other = stack.enter_context(_stand_in(group))
        sensor = KernelSensor(
            plan_of(
                Policy(mode=mode),
                scope="cgroup",
                cgroup=group,
                run_dir=run_dir,
                worker_pid=worker.pid,
            )
        )
        stack.callback(sensor.close)
        sensor.start()
        assert sensor._object is not None
        protect(sensor._object.map("protected"), other.pid, Protected.AGENT)
        yield Scene(sensor, group, worker, other)


@contextlib.contextmanager
def _stand_in(group: Path) -> Iterator[StandIn]:
    command = cgroup.command_in(group, [sys.executable, "-c", _STAND_IN])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            *threads, address = map(int, process.stdout.readline().split())
            yield StandIn(process, tuple(threads), address)
        finally:
            process.kill()
