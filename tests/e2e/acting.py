# SPDX-License-Identifier: MIT
"""Runs a workflow with the local runner ``act``, in host mode, and reads what it said.

``act`` knows no ``uses: $/path``: it gets a copy of the action in which that line names the
action by its owner. Nothing is fetched: every ``uses:`` is served from a directory.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import cgroup
from lab.tokens import Token
from leakstop.bpf import pins

ROOT = Path(__file__).resolve().parents[2]
ACTION = "acme/leakstop@v1"
"""How the workflows of these tests name the action."""
RUNS = Path("/run/leakstop")
TIMEOUT_S = 50.0

_numbers = itertools.count(1)

Popen = Callable[..., "subprocess.Popen[str]"]


@dataclass(frozen=True)
class Annotation:
    """One annotation of a step."""

    level: str
    title: str
    message: str
    file: str
    line: str


@dataclass
class Outcome:
    """A workflow run that is over."""

    code: int
    events: list[dict[str, Any]]
    """What act said, one record an event."""
    home: Path
    stderr: str

    @property
    def red(self) -> bool:
        """Whether the job failed."""
        results = [event["jobResult"] for event in self.events if "jobResult" in event]
        assert results and (results[-1] == "failure") == (self.code != 0), self.text
        return bool(results[-1] == "failure")

    @property
    def text(self) -> str:
        """The whole log."""
        return "\n".join(str(event.get("msg", "")).rstrip("\n") for event in self.events)

    def said(self, stage: str = "", step: str = "") -> str:
        """What the guard's own step printed, or ``step`` did, in one stage or in all."""
        return "".join(
            event["msg"]
            for event in self.events
            if event.get("raw_output")
            and event.get("stage", "") in (stage or event.get("stage", ""))
            and (step in event["stepID"] if step else event["stepID"][-1] == "hook")
        )

    def annotations(self, level: str = "") -> list[Annotation]:
        """The annotations that the guard's own step made."""
        return [
            Annotation(
                event["command"],
                event["kvPairs"].get("title", ""),
                event["arg"],
                event["kvPairs"].get("file", ""),
                event["kvPairs"].get("line", ""),
            )
            for event in self.events
            if event.get("command") in ([level] if level else ["error", "warning", "notice"])
            and event["stepID"][-1] == "hook"
        ]

    def result(self, step: str, stage: str = "Main") -> str:
        """``success`` or ``failure``; empty if the step was left out."""
        found = [
            str(event["stepResult"])
            for event in self.events
            if "stepResult" in event
            and event.get("stage") == stage
            and step in (event.get("stepID") or [])[-1:]
        ]
        return found[-1] if found else ""

    @property
    def outputs(self) -> dict[str, str]:
        """Outputs of the guard's step as later steps saw them."""
        return {
            event["name"]: event["arg"]
            for event in self.events
            if event.get("command") == "set-output" and event.get("stage") == "Main"
        }

    @property
    def summary(self) -> str:
        """The job summary."""
        mark = "Summary - "
        texts = [str(event.get("msg", "")).partition(mark) for event in self.events]
        found = [text for _, there, text in texts if there]
        return found[0] if found else ""

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The flow record in the log."""
        lines = self.said("Post").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"kind":')]

    def record(self, kind: str) -> list[dict[str, Any]]:
        """Records of one kind."""
        return [record for record in self.records if record["kind"] == kind]

    @property
    def report(self) -> dict[str, Any]:
        """``report.json``; act keeps it only where the job failed."""
        found = list(self.home.glob(".cache/act/*/tmp/leakstop-*/report.json"))
        assert len(found) == 1, found
        report: dict[str, Any] = json.loads(found[0].read_text())
        return report

    def shows(self, token: Token) -> list[str]:
        """Places in our own output where a form of ``token``'s value stands; must be empty."""
        ours = [str(event) for event in self.events if "hook" in (event.get("stepID") or [])]
        places = {"the log": "\n".join([*ours, self.summary]).encode()}
        for file in self.home.glob(".cache/act/*/tmp/leakstop-*/*"):
            places[file.name] = file.read_bytes()
        return [place for place, data in places.items() for form in token.forms if form in data]


@dataclass
class Run:
    """A workflow run that goes on."""

    process: subprocess.Popen[str]
    home: Path
    identity: str
    """``GITHUB_RUN_ID``, which no other run of act on this machine has."""
    _ended: list[Outcome] = field(default_factory=list)

    def wait(self, timeout_s: float = TIMEOUT_S) -> Outcome:
        """Wait for the end."""
        if not self._ended:
            out, err = self.process.communicate(timeout=timeout_s)
            lines = [line for line in out.splitlines() if line.startswith("{")]
            events = [json.loads(line) for line in lines]
            self._ended.append(Outcome(self.process.returncode, events, self.home, err))
        return self._ended[0]

    @property
    def agents(self) -> list[Path]:
        """Run directories of this run's agents: one, or none once it is over."""
        return [path for path in RUNS.glob("job-*") if _run_of(path) == self.identity]

    def discard(self) -> None:
        """Take away what a failed test left."""
        self.process.kill()
        with suppress(ValueError):
            self.process.communicate()
        for path in self.agents:
            pins.release(path)
            shutil.rmtree(path, ignore_errors=True)
            code = path.with_name(path.name.replace("job-", "code-"))
            shutil.rmtree(code, ignore_errors=True)


class Bench:
    """A repository with one workflow, the action, and a cgroup to run them in."""

    def __init__(self, directory: Path, popen: Popen, group: Path | None, user: int) -> None:
        """Without ``group``, the whole machine is guarded.

        ``directory`` must be readable by everyone: policies are read without rights.
        """
        self.directory = directory
        self._user = user
        self._popen = popen
        self.group = group
        self.repository = directory / "repository"
        self._actions: dict[str, Path] = {}
        self._runs: list[Run] = []
        self.repository.mkdir(parents=True)
        self._actions[ACTION] = _action(directory / "action")

    def publish(self, name: str, files: Mapping[str, str]) -> None:
        """Let ``uses: name`` mean a new action made of ``files``."""
        directory = self.directory / name.replace("/", "-")
        directory.mkdir()
        for file, text in files.items():
            (directory / file).write_text(text)
        self._actions[name] = directory

    def write(self, name: str, text: str) -> None:
        """Put a file into the repository."""
        path = self.repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def start(
        self,
        steps: str,
        *,
        secrets: Sequence[Token] = (),
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Start a workflow of one job ``build`` with these steps."""
        text = textwrap.indent(textwrap.dedent(steps).strip(), "      ")
        self.write(
            ".github/workflows/ci.yml",
            "on: push\npermissions: {}\njobs:\n  build:\n    runs-on: ubuntu-latest\n"
            f"    steps:\n{text}\n",
        )
        self._commit()
        number = next(_numbers)
        home = self.directory / f"home-{number}"
        home.mkdir()
        os.chown(home, self._user, self._user)
        identity = f"{os.getpid()}{number:03}"
        command = [act(), "push", "--json", "--platform", "ubuntu-latest=-self-hosted"]
        command += ["--env", f"GITHUB_RUN_ID={identity}"]
        for name, directory in self._actions.items():
            command += ["--local-repository", f"{name}={directory}"]
        for token in secrets:
            command += ["--secret", token.name]  # the value comes from act's environment
        variables = {name: value for token in secrets for name, value in token.env.items()}
        if self.group is not None:
            command = cgroup.command_in(self.group, command)
            variables["LEAKSTOP_CGROUP"] = str(self.group)
        process = self._popen(
            command,
            env={"HOME": str(home), **variables, **(env or {})},
            cwd=self.repository,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        run = Run(process, home, identity)
        self._runs.append(run)
        return run

    def run(
        self,
        steps: str,
        *,
        secrets: Sequence[Token] = (),
        env: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Outcome:
        """Run a workflow of one job to its end; nothing of the guard may be left then."""
        run = self.start(steps, secrets=secrets, env=env)
        outcome = run.wait(timeout_s)
        assert run.agents == [], outcome.text
        return outcome

    def close(self) -> None:
        """End what a test left running."""
        for run in self._runs:
            run.discard()

    def _commit(self) -> None:
        config = ["-c", "user.name=test", "-c", "user.email=test@home.test"]
        config += ["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]
        for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "test"]):
            subprocess.run(
                ["git", *config, *arguments],
                cwd=self.repository,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
                check=True,
            )


@contextmanager
def bench(directory: Path, popen: Popen, *, user: int = 0) -> Iterator[Bench]:
    """A bench with a cgroup of its own: the guard of a test never sees this machine's root.

    ``popen`` starts act, as ``user``.
    """
    with cgroup.child() as group:
        made = Bench(directory, popen, group, user)
        try:
            yield made
        finally:
            made.close()


class Pause:
    """Where a step waits for the test."""

    def __init__(self, directory: Path) -> None:
        self._begun, self._go = directory / "begun", directory / "go"

    def __str__(self) -> str:
        """What the step does there, in its shell."""
        return f"touch {self._begun}; until [ -e {self._go} ]; do sleep 0.05; done"

    def wait(self) -> None:
        """Until the step is there."""
        wait_for(self._begun)

    def end(self) -> None:
        """Let the step go on."""
        self._go.touch()


def wait_for(path: Path, timeout_s: float = 20) -> None:
    """Wait until ``path`` exists.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(str(path))
        time.sleep(0.02)


def _action(directory: Path) -> Path:
    """Copy the action to where act serves it from."""
    directory.mkdir()
    for name in ("agent", "policies"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, directory / name, ignore=ignore)
    text = (ROOT / "action.yml").read_text()
    name, _, ref = ACTION.partition("@")
    assert text.count("uses: $/") == 1
    (directory / "action.yml").write_text(
        text.replace("uses: $/agent/hook", f"uses: {name}/agent/hook@{ref}")
    )
    return directory


def act() -> str:
    """Where the runner is."""
    beside = Path(sys.executable).parent / "act"
    return str(beside) if beside.exists() else str(shutil.which("act"))


def _run_of(directory: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((directory / "state.json").read_text())["job"]["run_id"])
    return ""
