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
from lab.network import BARE

LEAKSTOP = [sys.executable, "-m", "leakstop"]
ENVIRON = {"PYTHONPATH": str(AGENT)}
RUNS = Path("/run/leakstop")
"""Where root's guards have their private directories."""
PATIENCE_S = 20
POLICY = "version: 1\nmode: {mode}\nallow: home.test\ndeny: other.test\n"
SCRIPT = f"""
echo $$ > $LAB/new; mv $LAB/new $LAB/pid
curl -sS -m 5 http://{BARE}/
touch $LAB/ready
while [ ! -e $LAB/go ]; do sleep 0.01; done
curl -sS -m 5 https://home.test/
curl -sS -m 5 https://other.test/
curl -sS -m 5 http://{BARE}/
touch $LAB/done
while [ ! -e $LAB/end ]; do sleep 0.01; done
"""
"""Visits, waits for ``go``, visits again, waits for ``end``."""


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


def is_there(pid: int) -> bool:
    """Whether a process is there, dead or alive."""
    return Path(f"/proc/{pid}").exists()


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
    def supervisor(self) -> int:
        """What starts the agent: the client's child with a session of its own."""
        (found,) = [pid for pid in children(self.client.pid) if os.getsid(pid) == pid]
        return found

    @property
    def agent(self) -> int:
        """The agent's process."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = children(self.supervisor)
            return len(found) == 1

        wait_until(is_there, "there is an agent")
        return found[0]

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

    @property
    def journal_path(self) -> Path:
        """Where the agent writes."""
        return self._reports / "events.ndjson"

    def journal(self) -> str:
        """What the agent has written so far."""
        return self.journal_path.read_text()

    def kill_all(self) -> None:
        """``kill -9`` supervisor and agent, and wait until the client knows."""
        both = self.supervisor, self.agent
        for pid in both:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_there, both)), "the client buries them")

    def end(self) -> Guarded:
        """Wait for the end."""
        out, err = self.client.communicate(timeout=PATIENCE_S)
        return Guarded(self.client.returncode, out, err, self._reports)


class Story:
    """One guarded command that waits for the test between its visits."""

    def __init__(self, lab: Lab, reports: Path, policy: str) -> None:
        self.lab = lab
        path = lab.directory / "ci.yml"
        path.write_text(policy)
        self.run = Running(lab, SCRIPT, policy=path, reports=reports)
        wait_until((lab.directory / "ready").exists, "the command gets ready")
        # What a killed agent has not written yet is lost; this is not the test for that.
        wait_until(lambda: f'"{BARE}"' in self.run.journal(), "the journal tells of the visit")
        self.links = self.run.links()
        assert attached(lab, self.links) == list(self.links) != []
        self.command = Path("/proc", (lab.directory / "pid").read_text().strip())

    def go_on(self) -> None:
        """Let the command make its other visits."""
        (self.lab.directory / "go").touch()
        wait_until((self.lab.directory / "done").exists, "the command has done its visits")

    def end(self) -> None:
        """Let the command end."""
        (self.lab.directory / "end").touch()

    def assert_taken_down(self) -> None:
        """Nothing is attached any more."""
        wait_until(lambda: not attached(self.lab, self.links), "the kernel lets go of the guard")


def children(pid: int) -> list[int]:
    """Those of a process with one thread."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


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
