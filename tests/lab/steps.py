# SPDX-License-Identifier: MIT
"""A guarded job whose steps a test starts one by one: a worker that does as it is told.

It keeps no diagnostic log, so a step is named by its ``GITHUB_ACTION``, as under act; and what it
is told to run it starts at once, also beside steps that still run. ``worker.py`` has the runner's
whole ways.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import cgroup
from lab.guard import AGENT
from lab.network import Lab

TESTS = Path(__file__).resolve().parents[1]
PATIENCE_S = 30.0

_WORKER = """\
import json, os, subprocess, sys, threading
def end(number, child):
    told = child.communicate()[0]
    print(json.dumps({"step": number, "code": child.returncode, "out": told}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = subprocess.Popen(
        asked["argv"], env={**os.environ, "GITHUB_ACTION": asked["name"]}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    print(json.dumps({"step": asked["step"], "pid": child.pid}), flush=True)
    threading.Thread(target=end, args=(asked["step"], child), daemon=True).start()
"""


@dataclass
class Step:
    """One step, which may still run."""

    pid: int = 0
    code: int | None = None
    out: str = ""


@dataclass
class Job:
    """A guarded job."""

    lab: Lab
    run_dir: Path
    worker: subprocess.Popen[str]
    _steps: list[Step] = field(default_factory=list)
    _told: threading.Condition = field(default_factory=threading.Condition)
    report: dict[str, Any] = field(default_factory=dict)
    """Of the whole job, once it has ended."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Its journal."""

    def listen(self) -> None:
        """Hear what the worker says, to its end."""
        assert self.worker.stdout is not None
        for line in self.worker.stdout:
            told = json.loads(line)
            with self._told:
                step = self._steps[told.pop("step")]
                for key, value in told.items():
                    setattr(step, key, value)
                self._told.notify_all()

    def begin(self, name: str, *argv: str | Path) -> Step:
        """Start a step, and do not wait for it."""
        assert self.worker.stdin is not None
        step = Step()
        self._steps.append(step)
        asked = {"step": len(self._steps) - 1, "name": name, "argv": [str(arg) for arg in argv]}
        print(json.dumps(asked), file=self.worker.stdin, flush=True)
        self._await(lambda: step.pid != 0)
        return step

    def end(self, step: Step) -> Step:
        """Wait for a step's end."""
        self._await(lambda: step.code is not None)
        return step

    def step(self, name: str, *argv: str | Path) -> Step:
        """Run a step to its end."""
        return self.end(self.begin(name, *argv))

    def python(self, name: str, program: str, *arguments: object) -> Step:
        """Run a step that is a Python program; it may import what the tests have."""
        return self.step(name, *python(program, *arguments))

    def _await(self, condition: Any) -> None:
        with self._told:
            assert self._told.wait_for(condition, PATIENCE_S), "the step does not get on"


def python(program: str, *arguments: object) -> list[str]:
    """A command line for a program that may import what the tests have."""
    head = f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
    return [sys.executable, "-c", head + program, *map(str, arguments)]


@contextmanager
def job(
    lab: Lab,
    policy: str,
    *,
    worker: Sequence[str | Path] = (),
    service: Sequence[str | Path] = ("sleep", "600"),
) -> Iterator[Job]:
    """Guard a cgroup with a worker in it, from before its first step to the report.

    ``worker``: a program of the test's own instead, which gets a pipe to say what it has to.
    ``service``: what else has run there before the guard.
    """
    rules, run_dir, out = (lab.directory / name for name in ("scoped.yml", "agent", "out"))
    rules.write_text(f"version: 1\nmode: block\n{policy}")
    with cgroup.child() as group:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [str(word) for word in worker] or [sys.executable, "-c", _WORKER]
        process = lab.popen(cgroup.command_in(group, command), **pipes)
        made = Job(lab, run_dir, process)
        lab.popen(cgroup.command_in(group, [str(word) for word in service]))
        guard = ("--policy", rules, "--cgroup", group, "--worker", str(process.pid))
        wait_for(lambda: len((group / "cgroup.procs").read_text().split()) == 2)
        assert leakstop(lab, "start", *guard, "--run-dir", run_dir) == 0
        if not worker:
            threading.Thread(target=made.listen, daemon=True).start()
        try:
            yield made
        finally:
            leakstop(lab, "stop", "--run-dir", run_dir, "--report-dir", out)
            process.kill()
            process.wait()
            if (out / "report.json").exists():
                made.report.update(json.loads((out / "report.json").read_text()))
                journal = (out / "events.ndjson").read_text().splitlines()
                made.events += map(json.loads, journal)


def leakstop(lab: Lab, *arguments: str | Path) -> int:
    """Run a subcommand, unlike ``lab.run`` while connections are open; its exit code."""
    command = [sys.executable, "-m", "leakstop", *arguments]
    return lab.popen(command, env={"PYTHONPATH": str(AGENT)}).wait(PATIENCE_S)


def wait_for(condition: Any, timeout_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


__all__ = ["Job", "Step", "job", "leakstop", "python", "wait_for"]
