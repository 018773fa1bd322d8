# SPDX-License-Identifier: MIT
"""Names of steps, from what the runner gives to the direct children of its worker.

Only such a child is asked, and only at its first exec: a step can change ``GITHUB_ACTION`` for
its own children and for what it becomes, not for what the worker starts. The label is what the
runner calls the step inside (``__run_2``), not what people see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from leakstop.sensor.proc import environ_value, text

_MAX_LABEL = 100
_NUMBERED = re.compile(r"(?P<name>.+?)_(?P<number>\d+)")
_ACTION_PATH = re.compile(r"/_actions/([^/]+/[^/]+)/")
_SCRIPT = re.compile(r"/_temp/[0-9a-f-]{36}\.(?:sh|ps1|py|cmd)$")
# act's file for a script has the step's name (act, pkg/runner/step_run.go: getScriptName).
_ACT_SCRIPT = re.compile(r"/act/workflow/([\w-]+?)(?:-composite-[\w-]+)?\.(?:sh|ps1|py|cmd)$")

ENVIRONMENT = "environment"
"""``StepSeen.source`` of what is named here."""


def step_label(environ: bytes, argv: Sequence[bytes]) -> str:
    """Name the step that a direct child of the worker runs; empty if nothing tells.

    A step with an ``id:`` is called by it. Otherwise ``__run_2`` is ``run 2``, and an action
    is called by its repository.
    """
    action = action_of(environ)
    if action and not action.startswith("__"):
        return _plain(action)
    name = action.removeprefix("__")
    numbered = _NUMBERED.fullmatch(name)
    count = f" {numbered['number']}" if numbered else ""
    if numbered:
        name = numbered["name"]
    repository = _own_repository(environ, name)
    if repository:
        return printable(repository + count)
    return printable(name + count) if name else _label_of(argv)


def step_names(environ: bytes) -> tuple[str, ...]:
    """All that a policy may call the step, as far as its environment tells: id and ``uses:``."""
    action = action_of(environ)
    if not action.startswith("__"):
        repository = environ_value(environ, "GITHUB_ACTION_REPOSITORY") or ""
        identity = "" if action.isdecimal() else action  # act's number; an id begins otherwise
        return tuple(printable(name) for name in (identity, repository) if name)
    numbered = _NUMBERED.fullmatch(action)
    name = (numbered["name"] if numbered else action).removeprefix("__")
    repository = _own_repository(environ, name)
    return (printable(repository),) if repository else ()


def action_of(environ: bytes) -> str:
    """What the runner calls the step: unique in a job; of a composite's steps the composite's."""
    return environ_value(environ, "GITHUB_ACTION") or ""


def printable(label: str) -> str:
    """Return ``label`` on one line and not too long."""
    return "".join(c if c.isprintable() else "?" for c in label)[:_MAX_LABEL]


def _own_repository(environ: bytes, name: str) -> str:
    """The action's repository, if it is the step's own.

    Inside a composite the variables differ in depth: GITHUB_ACTION is the outer step's, the
    repository the inner action's. They are one step only if one is made of the other.
    """
    repository = environ_value(environ, "GITHUB_ACTION_REPOSITORY") or ""
    return repository if not name or name == repository.replace("/", "_") else ""


def _label_of(argv: Sequence[bytes]) -> str:
    for argument in map(text, argv):
        if match := _ACTION_PATH.search(argument):
            return printable(match[1])
        if match := _ACT_SCRIPT.search(argument):
            return _plain(match[1])
        if _SCRIPT.search(argument):
            return "run"
    return ""


def _plain(action: str) -> str:
    """Name a step by its ``id:``, or by its number: act's way where there is none."""
    return printable(f"step {action}" if action.isdecimal() else action)


__all__ = ["ENVIRONMENT", "action_of", "printable", "step_label", "step_names"]
