# SPDX-License-Identifier: MIT
"""How long it takes until a command runs under guard, and until a machine is guarded."""

from __future__ import annotations

import compileall
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from bench.figures import heading, table, target
from bench.phases import MONOTONIC
from bench.stage import HERE, RunnersWorker, Stage, policy_text
from lab import cgroup
from lab.guard import AGENT

RUN_TARGET_MS = 300
START_TARGET_MS = 1500
TRUE = "/bin/true"
_numbers = count(1)

SHOWN = (
    "python",
    "import:leakstop.cli.main",
    "import:leakstop.cli.run",
    "prepare",
    "load_compiler",
    "build",
    "import:leakstop.daemon.main",
    "import:leakstop.sensor.kernel",
    "build_plan",
    "KernelSensor.start",
    "_load",
    "KernelSensor._fill",
    "Attachment.attach",
    "Attachment.cover_uplinks",
    "KernelSensor._make_followers",
    "KernelSensor._running",
    "Command.start",
)
"""Phases in the order in which they are printed."""


@dataclass(frozen=True)
class Checkout:
    """A copy of the agent, with bytecode beside its source or without."""

    agent: Path
    flags: tuple[str, ...]

    @classmethod
    def make(cls, directory: Path, *, bytecode: bool) -> Checkout:
        """Copy the agent; bytecode is what `pip install` leaves, and a fresh checkout lacks."""
        place = directory / ("installed" if bytecode else "checkout")
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(AGENT, place / "agent", ignore=skip)
        shutil.copytree(AGENT.parent / "policies", place / "policies")
        if bytecode:
            compileall.compile_dir(place, quiet=2)
        return cls(place / "agent", () if bytecode else ("-B",))


def arming(stage: Stage, times: int) -> None:
    """Time `leakstop run` and `leakstop start`."""
    installed = Checkout.make(stage.lab.directory, bytecode=True)
    fresh = Checkout.make(stage.lab.directory, bytecode=False)
    policy = stage.lab.directory / "bench.yml"
    policy.write_text(policy_text(1_000))
    audit, block = ["--mode", "audit"], ["--policy", str(policy)]
    heading("From exec of python to the command's exec, `leakstop run` (milliseconds)")
    runs: dict[str, list[float]] = defaultdict(list)
    interpreter: list[float] = []
    arms: tuple[tuple[str, Checkout, Sequence[str]], ...] = (
        ("no policy", installed, audit),
        ("block, 1,000 hosts", installed, block),
        ("no policy, no bytecode", fresh, audit),
    )
    for _ in range(times):
        interpreter.append(_interpreter(stage))
        for name, checkout, options in arms:
            runs[name].append(_run(stage, checkout, options))
    rows = [_row(name, took, interpreter, RUN_TARGET_MS) for name, took in runs.items()]
    table(("", "median", "fastest", "× bare python", f"target {RUN_TARGET_MS}"), rows)
    _print_phases(stage, installed, audit, times)
    heading("`leakstop prepare`, then `start --prepared -`, no network (milliseconds)")
    starts: dict[str, list[float]] = defaultdict(list)
    for _ in range(max(3, times // 2)):
        for name, checkout, options in arms[1:]:
            starts[name].append(_start(stage, checkout, options))
    rows = [_row(name, took, interpreter, START_TARGET_MS) for name, took in starts.items()]
    table(("", "median", "fastest", "× bare python", f"target {START_TARGET_MS}"), rows)


def _row(
    name: str, took: Sequence[float], interpreter: Sequence[float], limit: int
) -> tuple[str, ...]:
    middle = median(took)
    ratio = middle / median(interpreter)
    return name, f"{middle:.0f}", f"{min(took):.0f}", f"{ratio:.1f}", target(middle, limit)


def _interpreter(stage: Stage) -> float:
    """A python that does nothing: what this machine takes for any answer at all."""
    began = time.perf_counter()
    _in_lab(stage, [sys.executable, "-c", ""], {})
    return (time.perf_counter() - began) * 1000


def _run(
    stage: Stage, checkout: Checkout, options: Sequence[str], phases: Path | None = None
) -> float:
    """One guarded `/bin/true`. Its exec is timed by the kernel: the event in the journal."""
    reports = stage.lab.directory / f"reports-{next(_numbers)}"
    program = ["-m", "leakstop"] if phases is None else [str(HERE / "phases.py"), str(phases)]
    command = [sys.executable, *checkout.flags, *program, "run", *options]
    command += ["--report-dir", str(reports), "--", TRUE]
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    _in_lab(stage, command, {"PYTHONPATH": str(checkout.agent)})
    events = map(json.loads, (reports / "events.ndjson").read_text().splitlines())
    shown = next(event for event in events if event["kind"] == "exec" and event["exe"] == TRUE)
    return float(shown["ts_ns"] - began) / 1e6


def _print_phases(stage: Stage, checkout: Checkout, options: Sequence[str], times: int) -> None:
    """Say where the time goes. Phases of different processes overlap; none adds up to the whole."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(times):
        log = stage.lab.directory / f"phases-{next(_numbers)}"
        log.touch()
        log.chmod(0o666)  # the child that reads the policy is nobody
        began = time.clock_gettime_ns(MONOTONIC)
        _run(stage, checkout, options, log)
        for line in log.read_text().splitlines():
            _, phase, first, last = line.split()
            spans[phase].append(((int(first) - began) / 1e6, (int(last) - began) / 1e6))
    rows = [
        (
            phase.removeprefix("KernelSensor.").removeprefix("Attachment."),
            f"{median(first for first, _ in spans[phase]):.0f}",
            f"{median(last - first for first, last in spans[phase]):.1f}",
        )
        for phase in SHOWN
        if phase in spans
    ]
    heading("Where it goes: no policy, bytecode (milliseconds, processes overlap)")
    table(("phase", "begins at", "takes"), rows)


def _start(stage: Stage, checkout: Checkout, options: Sequence[str]) -> float:
    """Prepare and start a guard of an empty cgroup, and end it."""
    env = {"PYTHONPATH": str(checkout.agent)}
    run_dir = stage.lab.directory / f"start-{next(_numbers)}"
    leakstop = [sys.executable, *checkout.flags, "-m", "leakstop"]
    with cgroup.child() as group, closing(RunnersWorker()) as worker:
        began = time.perf_counter()
        document = _in_lab(stage, [*leakstop, "prepare", *options], env)
        command = [*leakstop, "start", "--prepared", "-", "--cgroup", str(group)]
        command += ["--run-dir", str(run_dir), "--worker", str(worker.pid)]
        _in_lab(stage, command, env, document)
        took = (time.perf_counter() - began) * 1000
        _in_lab(stage, [*leakstop, "stop", "--run-dir", str(run_dir)], env)
    return took


def _in_lab(
    stage: Stage, command: Sequence[str], env: Mapping[str, str], stdin: str | None = None
) -> str:
    """Run something to its end; less is around it than with ``Lab.run``."""
    done = stage.lab.job.call(
        lambda: subprocess.run(
            command,
            env={**stage.lab.environ, **env},
            input=stdin,
            text=True,
            capture_output=True,
            cwd=stage.lab.directory,
        )
    )
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr}")
    return done.stdout
