# SPDX-License-Identifier: MIT
"""A guard of a whole machine, on a small scale: its sockets' hooks see one cgroup, and its second
line sees every packet that leaves the job's namespace.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import cgroup
from lab.departures import everything, frames
from lab.guard import AGENT
from lab.network import Lab

_LEAKSTOP = [sys.executable, "-m", "leakstop"]
_ENVIRON = {"PYTHONPATH": str(AGENT)}


@dataclass
class Machine:
    """A guard that is in force."""

    lab: Lab
    group: Path
    run_dir: Path
    _wire: socket.socket
    _frames: list[bytes] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    """The journal, once the guard has ended."""

    def run(self, *command: str | Path) -> str:
        """Run a command of the machine to its end and return what it printed."""
        done = self.lab.run(cgroup.command_in(self.group, [str(word) for word in command]))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, program: str) -> str:
        """Run a Python program."""
        return self.run(sys.executable, "-c", program)

    def left(self, needle: bytes) -> bool:
        """Whether a frame with ``needle`` in it has come out of the machine, to the very end."""
        if self._wire.fileno() >= 0:
            self._frames += frames(self._wire)
        return any(needle in frame for frame in self._frames)

    def stop(self) -> int:
        """End the guard; the exit code, and ``events``."""
        out = self.lab.directory / "out"
        done = self.lab.run(
            [*_LEAKSTOP, "stop", "--run-dir", self.run_dir, "--report-dir", out], env=_ENVIRON
        )
        lines = (out / "events.ndjson").read_text().splitlines()
        self.events += map(json.loads, lines)
        return done.returncode

    def seen_by_link(self) -> list[tuple[str, str, int, str, str]]:
        """What only the second line has seen: protocol, address, port, reason and what was done."""
        return [
            (e["transport"], e["ip"], e["port"], e["reason"], e["applied"])
            for e in self.events
            if e["kind"] == "connect" and e["via"] == "link"
        ]


@contextmanager
def machine(
    lab: Lab, *, mode: str, allow: Sequence[str] = (), rules: str = ""
) -> Iterator[Machine]:
    """Guard the lab's job as ``leakstop start`` guards a machine.

    ``rules``: lines of a policy, instead of what to ``allow``.
    """
    policy = lab.directory / "machine.yml"
    lines = "".join(f"  {item}\n" for item in allow)
    rules = rules or (f"allow: |\n{lines}" if lines else "")
    policy.write_text(f"version: 1\nmode: {mode}\n{rules}")
    prepared = lab.run([*_LEAKSTOP, "prepare", "--policy", policy], env=_ENVIRON)
    assert prepared.returncode == 0, prepared.stderr
    document = json.loads(prepared.stdout)
    run_dir = lab.directory / "agent"
    with cgroup.child() as group, lab.services.call(everything) as wire:
        document["settings"] = {"scope": "machine", "cgroup": str(group)}
        began = lab.run(
            [*_LEAKSTOP, "start", "--prepared", "-", "--run-dir", run_dir],
            env=_ENVIRON,
            stdin=json.dumps(document),
        )
        assert began.returncode == 0, began.stderr
        made = Machine(lab, group, run_dir, wire)
        try:
            yield made
        finally:
            made.left(b"")
            if not made.events:
                made.stop()


__all__ = ["Machine", "machine"]
