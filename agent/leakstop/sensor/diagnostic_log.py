# SPDX-License-Identifier: MIT
"""What the worker's diagnostic log says of a job's steps.

The format is that of actions/runner: ``HostTraceListener`` writes ``[2026-04-10 17:17:22Z INFO
StepsRunner] text``, where the text may go on for lines. Two things in it are of use:

- the job's message (``Worker``), which the worker logs before it runs anything: each step with
  what its direct children find in ``GITHUB_ACTION``, with its name, its ``uses:`` and its line;
- which step goes on (``StepsRunner``, ``BackgroundStepCoordinator``), as it happens.

Only the first gives names that rights may hang on. The second also holds text that others make
up: a name with an expression in it can contain a line break and another entry, and a step's
processes may write to the file. It is good for what people read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_HEAD = re.compile(rb"\xef?\xbb?\xbf?\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ [A-Z]+ +(\w+)\] ")
_MESSAGE, _PROCESSING, _AFTER = "Job message:", "Processing step: DisplayName='", "Current state: "
_BACKGROUND = re.compile(r"Background step '(.*)' waiting for slot\.")
_COMPLETED = re.compile(r"Background step '(.*)' completed with result: ")
_STARTED = re.compile(r"Process started with process id ([0-9]{1,10}), ")
_MOST_PIDS = 4096
_MOST_BYTES = 32 << 20
"""Of the job's message, which holds what triggered the workflow (at most 25 MB of it)."""
_ENTRY_BYTES = 1 << 16
"""Of any other entry."""
_RUN = "Run "
"""In front of the name of a step that its author gave none (``RunDisplayPrefix``)."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step, as the job's message has it."""

    name: str
    """What people see; empty if that is an expression."""
    identity: str
    """Its ``id:``; empty if its author gave it none."""
    uses: str
    """Without the ref; empty for a script."""
    place: str
    """``file:line`` of the workflow, as far as known."""

    @property
    def names(self) -> tuple[str, ...]:
        """All that a policy may call it."""
        return tuple(name for name in (self.name, self.identity, self.uses) if name)


class DiagnosticLog:
    """Takes in the log piece by piece."""

    def __init__(self) -> None:
        self.plan: Mapping[str, PlannedStep] = {}
        """The job's steps by their ``GITHUB_ACTION``; empty where the message was not seen."""
        self._begun = False
        self._rest = b""
        self._source = ""
        self._entry: list[bytes] = []
        self._size = 0
        self._going: list[str] = []
        self._background: dict[str, str] = {}
        self._at_work: set[str] = set()
        self._pids: dict[int, str] = {}

    def feed(self, data: bytes) -> None:
        """Take in what was written. The last entry counts when the next one begins."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            head = _HEAD.match(line)
            if head is None:
                self._keep(line)
                continue
            self._end()
            self._source = head[1].decode()
            self._keep(line[head.end() :])
        if len(self._rest) > _MOST_BYTES:
            self._rest = b""

    @property
    def going(self) -> str:
        """The name of the step that runs in the foreground; empty unless it is one for sure."""
        return self._going[0] if len(self._going) == 1 else ""

    def started(self, pid: int) -> str:
        """The name of the step for which the worker started ``pid``; empty if that is not sure."""
        return self._pids.get(pid, "")

    def background(self, action: str) -> str:
        """The name of the background step with this ``GITHUB_ACTION``; empty if it is none."""
        return self._background.get(action, "")

    def _keep(self, line: bytes) -> None:
        most = _MOST_BYTES if self._source == "Worker" else _ENTRY_BYTES
        self._size += len(line) + 1
        if self._size <= most:
            self._entry.append(line)

    def _end(self) -> None:
        entry, self._entry, self._size = b"\n".join(self._entry), [], 0
        text = entry.decode("utf-8", "replace")
        if self._source == "StepsRunner":
            self._follow(text)
        elif self._source == "BackgroundStepCoordinator":
            self._follow_background(text)
        elif self._source.startswith("ProcessInvoker"):
            if found := _STARTED.match(text):
                # While others are at work beside it, the line may be of any of them.
                self._pids[int(found[1])] = "" if self._at_work else self.going
                while len(self._pids) > _MOST_PIDS:
                    del self._pids[next(iter(self._pids))]
        elif text.startswith(_MESSAGE) and self._source == "Worker" and not self._begun:
            self.plan = self.plan or dict(_planned(text))

    def _follow(self, text: str) -> None:
        if text.startswith(_PROCESSING):
            self._begun = True
            self._going.append(text.removeprefix(_PROCESSING).removesuffix("'"))
        elif text.startswith(_AFTER):
            self._going.clear()

    def _follow_background(self, text: str) -> None:
        if self._going and (found := _BACKGROUND.match(text)):
            self._background[found[1]] = self._going.pop()
            self._at_work.add(found[1])
        elif found := _COMPLETED.match(text):
            self._at_work.discard(found[1])


def _planned(message: str) -> Iterator[tuple[str, PlannedStep]]:
    files = [file for file in _array(message, "fileTable") if isinstance(file, str)]
    for step in _array(message, "steps"):
        if isinstance(step, dict):
            action = _text(step.get("name")) or _text(step.get("contextName"))
            reference = step.get("reference")
            reference = reference if isinstance(reference, dict) else {}
            identity = "" if action.startswith("__") else action
            place = _place(step, files)
            yield action, PlannedStep(_name(step, reference), identity, _uses(reference), place)


def _array(message: str, key: str) -> list[Any]:
    """An array at the top of the message.

    By itself: what the runner masks (a secret may be ``{``) can break the rest of the JSON.
    Strings have no line breaks of their own, so this finds a key.
    """
    begin = f'\n  "{key}": '
    at = message.find(begin)
    if at < 0:
        return []
    try:
        value, _ = json.JSONDecoder().raw_decode(message, at + len(begin))
    except (ValueError, RecursionError):
        return []
    return value if isinstance(value, list) else []


def _name(step: dict[str, Any], reference: dict[str, Any]) -> str:
    """What people see (``ActionRunner.GenerateDisplayName``)."""
    if step.get("displayNameToken") is not None:
        return _first_line(_literal(step["displayNameToken"]))
    if reference.get("type") == "script":
        shown = _first_line(_literal(_script(step)))
    else:
        ref = _text(reference.get("ref"))
        shown = _uses(reference) + (f"@{ref}" if ref else "")
    return _RUN + shown if shown else ""


def _uses(reference: dict[str, Any]) -> str:
    parts = (reference.get("name") or reference.get("image"), reference.get("path"))
    return "/".join(filter(None, map(_text, parts)))


def _script(step: dict[str, Any]) -> object:
    inputs = step.get("inputs")
    pairs = inputs.get("map") if isinstance(inputs, dict) else None
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, dict) and _literal(pair.get("key")) == "script":
            return pair.get("value")
    return None


def _literal(token: object) -> str:
    """The text of a template token; empty for an expression."""
    return _text(token.get("lit")) if isinstance(token, dict) else _text(token)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]


def _place(step: dict[str, Any], files: list[str]) -> str:
    """Where the first of the step's tokens stands."""
    found = [place for place in _tokens(step) if 0 < place[0] <= len(files)]
    if not found:
        return ""
    file, line = min(found)
    return f"{files[file - 1]}:{line}"


def _tokens(value: object, depth: int = 8) -> Iterator[tuple[int, int]]:
    inner: Iterable[object] = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        inner = value.values()
        file, line = value.get("file"), value.get("line")
        if isinstance(file, int) and isinstance(line, int):
            yield file, line
    for each in inner if depth else ():
        yield from _tokens(each, depth - 1)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


__all__ = ["DiagnosticLog", "PlannedStep"]
