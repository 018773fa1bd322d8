# SPDX-License-Identifier: MIT
"""Jobs for a stand-in of the runner's worker (``runner_worker.py``), and what came of them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lab import cgroup

PROGRAM = Path(__file__).with_name("runner_worker.py")
WORKFLOW = ".github/workflows/ci.yml"
TIMEOUT_S = 60.0

_numbers = itertools.count(1)
Popen = Callable[..., "subprocess.Popen[str]"]
Step = dict[str, Any]


def script(run: str, name: str = "", **more: Any) -> Step:
    """A ``run:`` step; ``more``: ``id``, ``env``, ``background``, ``always``, ``skip``."""
    return {"run": run, "name": name, **more}


def action(uses: str, node: Mapping[str, str | Path], name: str = "", **more: Any) -> Step:
    """An action of node: ``node`` has its ``pre``, ``main`` and ``post``; ``with`` its inputs."""
    scripts = {phase: str(path) for phase, path in node.items()}
    return {"uses": uses, "node": scripts, "name": name, **more}


def composite(uses: str, steps: Sequence[Step], name: str = "", **more: Any) -> Step:
    """A composite action of embedded steps."""
    return {"uses": uses, "steps": list(steps), "name": name, **more}


@dataclass
class Outcome:
    """A job that is over."""

    code: int
    records: list[dict[str, Any]]
    """Each process of a step: ``step``, ``action``, ``stage``, ``pid``, ``code``, ``output``."""
    stderr: str
    root: Path

    def of(self, step: str, stage: str = "Main") -> dict[str, Any]:
        """The last process of a step, by the name that people see."""
        found = [r for r in self.records if r.get("step") == step and r.get("stage") == stage]
        assert found, f"no process of {step!r}; {self.records}\n{self.stderr}"
        return found[-1]

    @property
    def result(self) -> str:
        """``success`` or ``failure``."""
        return str(self.records[-1]["result"]) if self.records else "none"

    @property
    def summary(self) -> str:
        """The job summary."""
        return str(self.records[-1]["summary"])


@dataclass
class Job:
    """A job that runs."""

    process: subprocess.Popen[str]
    root: Path
    identity: str
    """``GITHUB_RUN_ID``, which no other job on this machine has."""
    _ended: list[Outcome] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The worker."""
        return self.process.pid

    @property
    def log(self) -> Path:
        """The newest diagnostic log."""
        deadline = time.monotonic() + 10
        while not (logs := sorted(self.root.glob("_diag/Worker_*.log"))):
            assert time.monotonic() < deadline, "the worker has no log"
            time.sleep(0.01)
        return logs[-1]

    def wait(self, timeout_s: float = TIMEOUT_S) -> Outcome:
        """Wait for the end."""
        if not self._ended:
            out, err = self.process.communicate(timeout=timeout_s)
            records = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
            self._ended.append(Outcome(self.process.returncode, records, err, self.root))
        return self._ended[0]


class Worker:
    """Where jobs of the stand-in run."""

    def __init__(self, directory: Path, popen: Popen | None = None) -> None:
        self._directory = directory
        self._popen = popen or partial(subprocess.Popen, text=True)

    def start(
        self,
        steps: Sequence[Step],
        *,
        env: Mapping[str, str] | None = None,
        group: Path | None = None,
        page_bytes: int = 0,
        message: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> Job:
        """Start a job of these steps, in the cgroup ``group``.

        ``page_bytes``: how long a page of the log gets before the next (the runner's: 8 MiB).
        ``message`` may change the job's message before it is logged.
        """
        number = next(_numbers)
        identity = f"{os.getpid()}{number:03}"
        root = self._directory / f"runner-{number}"
        root.mkdir()
        root.chmod(0o755)
        named = name_steps(steps)
        told = {
            "fileTable": [WORKFLOW],
            "mask": [{"type": "regex", "value": "***"}],
            "steps": [planned(step, line) for line, step in enumerate(named, 10)],
            "variables": {"system.github.job": {"value": "build"}},
            "contextData": {"github": {"t": 2, "d": [{"k": "sha", "v": "0" * 40}]}},
        }
        message(told)
        job = {
            "steps": named,
            "message": told,
            "node": shutil.which("node") or "node",
            "page_bytes": page_bytes,
            "github": _github(identity),
        }
        (root / "job.json").write_text(json.dumps(job))
        command = [sys.executable, "-I", str(PROGRAM), str(root)]
        guarded = {"LEAKSTOP_CGROUP": str(group)} if group else {}
        process = self._popen(
            cgroup.command_in(group, command) if group else command,
            env={"PATH": os.environ["PATH"], "HOME": str(root), **guarded, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return Job(process, root, identity)


def name_steps(steps: Sequence[Step]) -> list[Step]:
    """Give each step what the runner calls it: ``GITHUB_ACTION`` and the name for people."""
    counts: dict[str, int] = {}
    named = []
    for step in steps:
        repository, _, ref = step.get("uses", "").partition("@")
        owner = "/".join(repository.split("/")[:2])
        made = "__" + (owner.replace("/", "_") if owner else "run")
        counts[made] = counts.get(made, 0) + 1
        number = f"_{counts[made]}" if counts[made] > 1 else ""
        first = (step.get("run", "").strip().splitlines() or [""])[0]
        display = step.get("name") or f"Run {step.get('uses') or first}"
        inner = {"steps": name_steps(step["steps"])} if "steps" in step else {}
        more = {"repository": owner, "ref": ref} if owner else {}
        identity = step.get("id") or made + number
        named.append({**step, **inner, **more, "action": identity, "display": display})
    return named


def planned(step: Step, line: int) -> Step:
    """A step as the job's message has it."""
    place = {"type": 0, "file": 1, "line": line, "col": 15}
    if "uses" in step:
        repository, _, ref = step["uses"].partition("@")
        path = "/".join(repository.split("/")[2:])
        reference = {"type": "repository", "name": step["repository"], "ref": ref, "path": path}
        reference["repositoryType"] = "GitHub"
    else:
        reference = {"type": "script"}
    name = {"displayNameToken": {**place, "lit": step["name"]}} if step.get("name") else {}
    text = {"key": "script", "value": {**place, "lit": step.get("run", "")}}
    return {
        "type": "action",
        "reference": reference,
        **name,
        "contextName": step["action"],
        "inputs": {"type": 2, "map": [text] if "run" in step else []},
        "condition": "success()",
        "id": "00000000-0000-0000-0000-000000000000",
        "name": step["action"],
    }


def _github(run_id: str) -> dict[str, str]:
    return {
        "GITHUB_JOB": "build",
        "GITHUB_RUN_ID": run_id,
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_REPOSITORY": "acme/repository",
        "GITHUB_SHA": "0" * 40,
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_WORKFLOW": "CI",
        "GITHUB_WORKFLOW_REF": f"acme/repository/{WORKFLOW}@refs/heads/main",
        "GITHUB_SERVER_URL": "https://github.test",
        "GITHUB_API_URL": "https://api.github.test",
        "RUNNER_NAME": "stand-in",
        "RUNNER_ARCH": "X64",
    }


__all__ = ["WORKFLOW", "Job", "Outcome", "Step", "Worker", "action", "composite", "script"]
