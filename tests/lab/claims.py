# SPDX-License-Identifier: MIT
"""The programs that say whose a container is, over a Docker of the lab; steps have tags by hand."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.docker import Docker
from lab.steps import wait_for
from leakstop.bpf import values
from leakstop.bpf.libbpf import library
from leakstop.bpf.records import EventContainer, EventEngine, EventFork, EventHead, Kind
from leakstop.bpf.ring import Ring
from leakstop.bpf.tracepoint import event_numbers, open_event
from leakstop.model.process import Tag
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.needles import build
from leakstop.sensor.attachment import REQUESTS
from leakstop.sensor.containers import fnv1a
from leakstop.sensor.load import load

_tags = itertools.count(Tag.STEPS)
_WAITS = 'echo $$ > "$0" && read -r _ && exec "$@"'


class Step:
    """Starts processes that belong together."""

    def __init__(self, claims: Claims, tag: int) -> None:
        self.claims = claims
        self.tag = tag

    def start(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
        """Start ``command``, which belongs to this step before its first instruction."""
        docker = self.claims.docker
        group = docker.cgroup / "steps"
        group.mkdir(exist_ok=True)
        waits = ["sh", "-c", _WAITS, group / "cgroup.procs", *command]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = docker.lab.popen(waits, **pipes, **options)
        # An engine's process that went there would have entered a container.
        wait_for(lambda: str(process.pid) in (group / "cgroup.procs").read_text().split())
        self.claims.own(process.pid, self.tag)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return process

    def run(self, command: Sequence[str | Path], **options: Any) -> str:
        """Run ``command`` to its end; return what it printed."""
        process = self.start(command, **options)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        return out.strip()

    def docker(self, *arguments: str | Path) -> str:
        """Call ``docker`` as this step."""
        return self.run(self.claims.docker.command(*arguments))


class Claims:
    """A context manager; knows which processes entered containers, and whose they were then."""

    def __init__(self, docker: Docker) -> None:
        self.docker = docker
        self.entered: list[EventContainer] = []
        self.named: list[EventEngine] = []
        self.inherited: list[int] = []
        """Tag of each process that was made in a container."""
        self._inside: set[int] = set()
        self._open = ExitStack()

    def __enter__(self) -> Claims:
        with ExitStack() as stack:
            self._attach(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def step(self, tag: int = 0) -> Step:
        """A step that is no other's; or somebody else, by the tag."""
        return Step(self, tag or next(_tags))

    def own(self, pid: int, tag: int) -> None:
        """Say to whom a process belongs."""
        owner = values.Owner(tag=tag)
        self._object.map("owners").update(pid.to_bytes(4, "little"), bytes(owner))

    def call(self, name: str, container: int) -> None:
        """Tell the kernel what a container is called."""
        key = fnv1a(name).to_bytes(8, "little")
        self._object.map("container_names").update(key, container.to_bytes(8, "little"))

    def news(self, count: int = 1) -> list[tuple[int, bool]]:
        """Tag of each of the ``count`` processes that entered containers since, and whether it was
        alone there."""
        deadline = time.monotonic() + 10
        while len(self.entered) < count and time.monotonic() < deadline:
            self._ring.consume()
            time.sleep(0.01)
        self._ring.consume()
        news = [(event.tag, bool(event.first)) for event in self.entered]
        self.entered.clear()
        return news

    def _attach(self, stack: ExitStack) -> None:
        policy = Policy(mode=Mode.AUDIT)
        group = self.docker.cgroup
        opened = load(policy, compile_tables(policy), build(()), cgroup=group.stat().st_ino)
        self._object = opened
        stack.callback(opened.close)
        self._ring = Ring(library(), opened.map("events"), self._on_record)
        stack.callback(self._ring.close)
        descriptor = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, descriptor)
        opened.map("guarded").update(bytes(4), descriptor.to_bytes(4, "little"))
        for program in ("on_fork", "on_exit", "on_container"):
            stack.callback(opened.attach(program).close)
        numbers = event_numbers(REQUESTS.values(), self.docker.lab.directory / "tracing")
        for program, name in REQUESTS.items():
            event = open_event(numbers[name])
            stack.callback(opened.attach_event(program, event).close)
        for pid in map(int, (group / "daemon/cgroup.procs").read_text().split()):
            self.own(pid, Tag.ENGINE)

    def _on_record(self, address: int, size: int) -> None:
        record = ctypes.string_at(address, size)
        kind = EventHead.from_buffer_copy(record).kind
        if kind == Kind.CONTAINER:
            self.entered.append(EventContainer.from_buffer_copy(record))
            self._inside.add(self.entered[-1].head.pid)
        elif kind == Kind.ENGINE:
            self.named.append(EventEngine.from_buffer_copy(record))
        elif kind == Kind.FORK:
            fork = EventFork.from_buffer_copy(record)
            if fork.ppid in self._inside:
                self._inside.add(fork.head.pid)
                self.inherited.append(fork.tag)


__all__ = ["Claims", "Step"]
