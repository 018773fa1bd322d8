# SPDX-License-Identifier: MIT
"""The runner as a step sees it: what it tells, and how it is told something.

A step is told by environment variables, and answers by lines in files and by commands on its
standard output.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from leakstop.errors import LeakstopError
from leakstop.model.report import Job
from leakstop.report import escape

CGROUP_VARIABLE = "LEAKSTOP_CGROUP"
"""Of the runner itself, not of the job: a cgroup v2 directory to guard instead of the machine."""

_STATE = "STATE_"
_PLACE = re.compile(r"(?P<file>[^:\s`][^:`]*):(?P<line>\d+)(?::(?P<col>\d+))?")
_TITLES = {
    2: "the step's inputs are wrong",
    3: "the policy cannot be used",
    4: "this machine is unsupported",
    12: "coverage was lost",
}
_TITLE = "the guard failed"


@dataclass(frozen=True, slots=True)
class Runner:
    """The environment of one phase of the hook."""

    environ: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.environ.get(name, "")

    # -- what it tells ----------------------------------------------------------------------

    def state(self, name: str) -> str:
        """What an earlier phase kept under ``name``; empty if nothing."""
        return self[_STATE + name]

    def job(self) -> Job:
        """Where this runs."""
        workflow = self["GITHUB_WORKFLOW_REF"].partition("@")[0] or self["GITHUB_WORKFLOW"]
        action, ref = self["GITHUB_ACTION_REPOSITORY"], self["GITHUB_ACTION_REF"]
        return Job(
            name=self["GITHUB_JOB"],
            workflow=workflow.rpartition("/")[2],
            repository=self["GITHUB_REPOSITORY"],
            sha=self["GITHUB_SHA"],
            run_id=self["GITHUB_RUN_ID"],
            action_ref=f"{action}@{ref}" if action and ref else "",
            event=self["GITHUB_EVENT_NAME"],
            fork=self._from_fork(),
        )

    def _from_fork(self) -> bool:
        try:
            payload = json.loads(Path(self["GITHUB_EVENT_PATH"]).read_bytes())
            request = payload["pull_request"]
            # A fork that was deleted meanwhile has no repository any more.
            head = (request["head"]["repo"] or {}).get("full_name")
            return bool(head != request["base"]["repo"]["full_name"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False  # no pull request

    # -- how it is told ---------------------------------------------------------------------

    def save_state(self, values: Mapping[str, str]) -> None:
        """Keep ``values`` for the next phases; no other step can read or change them."""
        self._add("GITHUB_STATE", values)

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """Set outputs of the step."""
        self._add("GITHUB_OUTPUT", values)

    def set_variables(self, values: Mapping[str, str]) -> None:
        """Set environment variables of the steps that follow."""
        self._add("GITHUB_ENV", values)

    def add_summary(self, text: str) -> None:
        """Add Markdown to the job summary."""
        if text:
            self._append("GITHUB_STEP_SUMMARY", text)

    def _add(self, variable: str, values: Mapping[str, str]) -> None:
        # A delimiter that no value can know: a value cannot end itself and begin another.
        end = f"ghadelimiter_{secrets.token_hex(16)}"
        self._append(
            variable, "".join(f"{name}<<{end}\n{value}\n{end}\n" for name, value in values.items())
        )

    def _append(self, variable: str, text: str) -> None:
        with Path(self[variable]).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)


@dataclass(frozen=True, slots=True)
class Worker:
    """The process that runs the job's steps, as the kernel shows it: a job cannot change that."""

    pid: int
    program: str
    directory: Path
    cgroup: str
    """cgroup v2 directory to guard; empty for the machine."""

    @classmethod
    def of_this_step(cls) -> Worker:
        """Find it: it started the node process that started us."""
        return cls.at(_parent(os.getppid()))

    @classmethod
    def kept(cls, text: str) -> Worker:
        """The one that an earlier phase found, or else this step's.

        From then on the guard is in force, and reports whoever reads the worker's environment.
        """
        if not text:
            return cls.of_this_step()
        found = json.loads(text)
        return cls(found["pid"], found["program"], Path(found["directory"]), found["cgroup"])

    def to_text(self) -> str:
        """For a later phase."""
        return json.dumps({**dataclasses.asdict(self), "directory": str(self.directory)})

    @classmethod
    def at(cls, pid: int) -> Worker:
        """Look at the process ``pid``; 0 where it is out of sight, as from a job container."""
        place = Path("/proc", str(pid))
        try:
            program = (place / "exe").readlink().name
            directory = (place / "cwd").readlink()
            environment = (place / "environ").read_bytes().split(b"\0")
        except OSError:
            return cls(pid if pid > 1 else 0, "", Path("/"), "")
        mark = f"{CGROUP_VARIABLE}=".encode()
        found = [os.fsdecode(item[len(mark) :]) for item in environment if item.startswith(mark)]
        return cls(pid, program, directory, found[0] if found else "")

    @property
    def is_act(self) -> bool:
        """Whether it is nektos/act, which runs workflows on a developer's machine."""
        return self.program == "act"


@dataclass(frozen=True, slots=True)
class Caller:
    """How the runner calls us, as the kernel shows it."""

    node: str = ""
    """The program that runs our scripts."""
    scripts: str = ""
    """Their directory, as the runner names it."""

    @classmethod
    def of_this_step(cls) -> Caller:
        """Look at the node process that started us; empty where it is out of sight."""
        place = Path("/proc", str(os.getppid()))
        try:
            program, arguments = (place / "exe").readlink(), (place / "cmdline").read_bytes()
        except OSError:
            return cls()
        script = os.fsdecode(arguments.split(b"\0")[1:2][0]) if b"\0" in arguments else ""
        return cls(str(program), str(Path(script).parent) if script else "")


def announce(error: LeakstopError) -> None:
    """Print ``error`` to the job's log, and as an annotation at the line that is wrong."""
    for line in str(error).splitlines():
        print(escape.line(line, escape.MESSAGE_LIMIT))
    place = _PLACE.fullmatch(error.where)
    what = error.what if place or not error.where else f"{error.where}: {error.what}"
    lines = [line for part in (what, error.why, error.fix) for line in part.splitlines()]
    properties = place.groupdict("") if place else {}
    properties["title"] = f"Leakstop: {_TITLES.get(int(error.exit_code), _TITLE)}"
    print(escape.command("error", lines, properties), flush=True)


def mask(value: str) -> None:
    """Let the runner replace ``value`` in all that it logs from now on."""
    print(f"::add-mask::{value}", flush=True)


def say(lines: Iterable[str]) -> None:
    """Print lines to the job's log."""
    for line in lines:
        print(f"leakstop: {escape.line(line, escape.MESSAGE_LIMIT)}", flush=True)


def _parent(pid: int) -> int:
    # proc_pid_stat(5): the name in brackets may hold anything, the fields after it not.
    try:
        return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


__all__ = ["Caller", "Runner", "Worker", "announce", "mask", "say"]
