# SPDX-License-Identifier: MIT
"""Names of steps, read from what the runner gives to the direct children of its worker.

Only such a child is asked: a step can change ``GITHUB_ACTION`` for its own children, not for
itself. The name is what the runner calls the step inside (``__run_2``), not what people see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from leakstop.sensor.proc import environ_value, text

_MAX_LABEL = 100
_NUMBERED = re.compile(r"(?P<name>.+?)_(?P<number>\d+)")
_ACTION_PATH = re.compile(r"/_actions/([^/]+/[^/]+)/")
_SCRIPT = re.compile(r"/_temp/[0-9a-f-]{36}\.(?:sh|ps1|py|cmd)$")


def step_label(environ: bytes, argv: Sequence[bytes]) -> str:
    """Name the step that a direct child of the worker runs; empty if nothing tells.

    A step with an ``id:`` is called by it. Otherwise ``__run_2`` is ``run 2``, and an action
    is called by its repository.
    """
    action = environ_value(environ, "GITHUB_ACTION") or ""
    if action and not action.startswith("__"):
        return _printable(f"step {action}" if action.isdecimal() else action)
    name = action.removeprefix("__")
    numbered = _NUMBERED.fullmatch(name)
    count = f" {numbered['number']}" if numbered else ""
    if numbered:
        name = numbered["name"]
    repository = environ_value(environ, "GITHUB_ACTION_REPOSITORY") or ""
    # Inside a composite the variables differ in depth: GITHUB_ACTION is the outer step's, the
    # repository the inner action's. They are one step only if one is made of the other.
    if repository and (not name or name == repository.replace("/", "_")):
        return _printable(repository + count)
    return _printable(name + count) if name else _label_of(argv)


def _label_of(argv: Sequence[bytes]) -> str:
    for argument in map(text, argv):
        if match := _ACTION_PATH.search(argument):
            return _printable(match[1])
        if _SCRIPT.search(argument):
            return "run"
    return ""


def _printable(label: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in label)[:_MAX_LABEL]


__all__ = ["step_label"]
