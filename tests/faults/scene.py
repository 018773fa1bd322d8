# SPDX-License-Identifier: MIT
"""Guards that a test can watch, disturb and kill, and the traces that they must not leave."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from lab import Lab, cgroup
from lab.guard import AGENT, Guarded

LEAKSTOP = [sys.executable, "-m", "leakstop"]
ENVIRON = {"PYTHONPATH": str(AGENT)}
RUNS = Path("/run/leakstop")
"""Where root's guards have their private directories."""
PATIENCE_S = 20


def wait_until(fact: Callable[[], object], what: str) -> None:
    """Wait for ``fact``; ``what`` says in the failure what never came."""
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"it never came that {what}"
        time.sleep(0.005)


def leakstop(
    lab: Lab, *arguments: str | Path, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a subcommand in the lab to its end."""
    return lab.run([*LEAKSTOP, *arguments], env={**ENVIRON, **(env or {})}, **options)


class Running:
    """A ``leakstop run`` that is under way, around a shell script."""

    def __init__(self, lab: Lab, script: str, *, policy: Path, reports: Path) -> None:
        """Start it. In ``script``, ``$LAB`` is the lab's directory."""
        self._lab = lab
        self._reports = reports
        arguments: list[str | Path] = [
            "--policy",
            policy,
            "--report-dir",
            reports,
            "--",
            "sh",
            "-c",
            script,
        ]
        self.client = lab.popen(
            [*LEAKSTOP, "run", *arguments],
            env={**ENVIRON, "LAB": str(lab.directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def agent(self) -> int:
        """The agent's process: the client's child with a session of its own."""
        tasks = Path(f"/proc/{self.client.pid}/task/{self.client.pid}/children")
        (agent,) = [pid for pid in map(int, tasks.read_text().split()) if os.getsid(pid) == pid]
        return agent

    @property
    def run_dir(self) -> Path:
        """The private directory."""
        (found,) = RUNS.glob(f"run-{self.client.pid}-*")
        return found

    @property
    def cgroup(self) -> Path:
        """The command's cgroup."""
        return cgroup.current() / f"leakstop-{self.run_dir.name}"

    def links(self) -> set[int]:
        """What is attached in the kernel, by id."""
        pins = self.run_dir / "guard-1" / "bpf"
        paths = self._lab.job.call(lambda: list(pins.glob("on_*")))
        found = [_bpftool(self._lab, "link", "show", "pinned", str(path)) for path in paths]
        return {int(link["id"]) for link in found}

    def journal(self) -> str:
        """What the agent has written so far."""
        return (self._reports / "events.ndjson").read_text()

    def kill_agent(self) -> None:
        """``kill -9``, and wait until the client knows."""
        agent = self.agent
        os.kill(agent, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{agent}").exists(), "the client buries the agent")

    def end(self) -> Guarded:
        """Wait for the end."""
        out, err = self.client.communicate(timeout=PATIENCE_S)
        return Guarded(self.client.returncode, out, err, self._reports)


def attached(lab: Lab, links: Collection[int]) -> list[int]:
    """Those of ``links`` that the kernel still has."""
    return [link for link in links if _bpftool(lab, "link", "show", "id", str(link))]


def traces(lab: Lab, clients: Collection[int]) -> list[str]:
    """Cgroups, directories, mounts and processes of the guards with these clients."""
    if not clients:
        return []
    ours = re.compile(rf"run-({'|'.join(map(str, clients))})-[0-9a-f]{{8}}\b")
    mounts = lab.job.call(lambda: Path("/proc/thread-self/mountinfo").read_text())
    places = [
        *mounts.splitlines(),
        *map(str, cgroup.current().glob("leakstop-*")),
        *map(str, RUNS.glob("*")),
        *map(str, lab.directory.rglob("run-*")),
    ]
    left = [place for place in places if ours.search(place)]
    return left + [f"process {pid}" for pid in lab.job.processes()]


def _bpftool(lab: Lab, *words: str) -> Any:
    """The answer, or ``{}`` where bpftool finds nothing. Pins are in the job's mount namespace."""
    command = ["bpftool", "--json", *words]
    done = lab.job.call(lambda: subprocess.run(command, capture_output=True, text=True))
    return json.loads(done.stdout) if done.returncode == 0 else {}
