# SPDX-License-Identifier: MIT
"""Is the guard where it can guard? Reads workflows, knows nothing of policies.

Nothing of a workflow is interpreted beyond jobs, their steps and the guard's
``continue-on-error:``; nodes are composed, never constructed, so ``on`` stays a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from leakstop.report import escape

_GUARD = re.compile(r"[^/@\s]+/leakstop(?:/[^@\s]*)?@\S+")


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about a workflow that weakens the guard."""

    file: str
    line: int
    what: str
    fix: str
    grave: bool
    """The guard that is there does not do its work; else a job merely has none."""

    def __str__(self) -> str:
        level = "error" if self.grave else "warning"
        # File and job are a pull request's words: nothing in them may steer the terminal.
        file, what = escape.line(self.file), escape.line(self.what)
        return f"{file}:{self.line}: {level}: {what}\n   = {self.fix}"


@dataclass(frozen=True, slots=True)
class WorkflowStep:
    """A step as its author wrote it; what is missing is empty."""

    name: str
    identity: str
    uses: str
    run: str


@dataclass(frozen=True, slots=True)
class GuardedFile:
    """What a workflow's jobs do, and which policies its guards are given."""

    name: str
    steps: tuple[WorkflowStep, ...]
    guarded: bool
    policies: tuple[str, ...]
    """Inputs ``policy`` of its guards: paths, or policies."""


def find_workflows(start: Path) -> tuple[Path, ...]:
    """Workflow files of the repository that ``start`` lies in."""
    for directory in (start, *start.parents):
        folder = directory / ".github" / "workflows"
        if folder.is_dir():
            return tuple(sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]))
        if (directory / ".git").exists():
            break
    return ()


def inspect(name: str, text: str, *, guards: Sequence[str] = ()) -> tuple[Remark, ...]:
    """Look at one workflow.

    Args:
        name: what messages call the file.
        text: the file.
        guards: more actions that are the guard, such as an organisation's wrapper
            ``acme/guard``, without a ref.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        return (Remark(name, line, "this is no YAML", "the job's guard was not checked", True),)
    jobs = _get(root, "jobs")
    found = [_Job(str(key.value), key, value) for key, value in _pairs(jobs)]
    remarks = [remark for job in found for remark in job.remarks(name, guards)]
    # A repository that does not use the guard at all needs no advice on each of its jobs.
    if any(job.guard_at(guards) is not None for job in found):
        remarks += [job.unguarded(name) for job in found if job.needs_guard(guards)]
    return tuple(sorted(remarks, key=lambda remark: remark.line))


def read_steps(name: str, text: str, *, guards: Sequence[str] = ()) -> GuardedFile:
    """Read the steps of one workflow; of what is no YAML, none."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        root = None
    nodes = [step for _, body in _pairs(_get(root, "jobs")) for step in _steps(body)]
    found = [step for step in nodes if _is_guard(_text(_get(step, "uses")), guards)]
    policies = (_text(_get(_get(step, "with"), "policy")) for step in found)
    return GuardedFile(
        name,
        tuple(
            WorkflowStep(*(_text(_get(step, key)) for key in ("name", "id", "uses", "run")))
            for step in nodes
            if step not in found
        ),
        bool(found),
        tuple(policy for policy in policies if policy),
    )


class _Job:
    def __init__(self, identity: str, key: yaml.Node, body: yaml.Node) -> None:
        self._id = identity
        self._line = _line(key)
        self._body = body
        self._steps = _steps(body)

    def guard_at(self, guards: Sequence[str]) -> int | None:
        """Position of the guard among the steps."""
        for position, step in enumerate(self._steps):
            if _is_guard(_text(_get(step, "uses")), guards):
                return position
        return None

    def needs_guard(self, guards: Sequence[str]) -> bool:
        """It runs steps here (a job that calls another workflow does not), and has no guard."""
        return bool(self._steps) and self.guard_at(guards) is None

    def remarks(self, file: str, guards: Sequence[str]) -> Iterator[Remark]:
        """What is wrong with the guard of this job."""
        position = self.guard_at(guards)
        if position is None:
            return
        step = self._steps[position]
        if position:
            yield Remark(
                file,
                _line(step),
                f"the guard is step {position + 1} of job `{self._id}`: what runs before it is "
                "not guarded",
                "make it the first step, before checkout",
                grave=True,
            )
        forgiving = _get(step, "continue-on-error")
        if forgiving is not None and _text(forgiving) != "false":
            yield Remark(
                file,
                _line(forgiving),
                f"`continue-on-error` on the guard of job `{self._id}`: a leak would not fail "
                "the job",
                "remove the line; to begin gently use `leak: warn`",
                grave=True,
            )
        condition = _get(step, "if")
        if condition is not None:
            yield Remark(
                file,
                _line(condition),
                f"`if` on the guard of job `{self._id}`: where it is false nothing is guarded",
                "remove the line, or put the condition on the job",
                grave=True,
            )

    def unguarded(self, file: str) -> Remark:
        """Say that this job has no guard."""
        return Remark(
            file,
            self._line,
            f"job `{self._id}` has no guard",
            "add the guard as its first step; the other jobs do not protect this one",
            grave=False,
        )


def _is_guard(uses: str, guards: Sequence[str]) -> bool:
    return bool(_GUARD.fullmatch(uses)) or uses.partition("@")[0] in guards


def _steps(job: yaml.Node) -> list[yaml.Node]:
    steps = _get(job, "steps")
    return list(steps.value) if isinstance(steps, yaml.SequenceNode) else []


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    return next((value for name, value in _pairs(node) if name.value == key), None)


def _text(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


__all__ = ["GuardedFile", "Remark", "WorkflowStep", "find_workflows", "inspect", "read_steps"]
