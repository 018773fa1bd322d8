# SPDX-License-Identifier: MIT
"""What YAML's own errors mean to somebody who writes a policy.

A parser says what it expected and where it noticed; often that is far from the mistake
(``ports:[443]`` is noticed a line later) and never says what to type instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import yaml

from leakstop.policy.keys import ALL_KEYS

_SPACELESS = re.compile(r"(?:^|[\s{,\[-])(?P<key>[a-z][a-z-]*):(?P<value>[^\s/:][^\n]*)")
_ADDRESS6 = re.compile(r"\[[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(?:/\d+)?\](?:/\d+)?:\S*")
_VALUE = re.compile(r"^(?P<lead>\s*(?:- +)*(?:[\w-]+:\s+)?)(?P<value>.*?)(?:\s+#.*)?$")
_ITEM = re.compile(r"[^,\[\]]*\{[^,\]]*")


@dataclass(frozen=True, slots=True)
class Trap:
    """A mistake that was recognised: its place (from 1), what it is, and the cure."""

    line: int
    column: int
    what: str
    fix: str


def explain(lines: Sequence[str], error: yaml.YAMLError) -> Trap:
    """Say what ``error`` comes from."""
    if isinstance(error, yaml.reader.ReaderError):
        return _unprintable(lines, error)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Trap(1, 1, "this is not YAML", "")
    problem, context = error.problem or "", error.context or ""
    mark = error.problem_mark
    line, column = mark.line + 1, mark.column + 1
    if error.context_mark is not None:
        start = (error.context_mark.line + 1, error.context_mark.column + 1)
    else:
        start = (line, column)
    if "alias" in context:
        return alias(lines, *start)
    if "cannot start any token" in problem:
        return _bad_start(lines, line, column)
    if "mapping values are not allowed" in problem:
        return _second_colon(lines, line, column)
    if "could not find expected ':'" in problem:
        return _missing_colon(lines, *start)
    if "sequence entries are not allowed" in problem:
        return Trap(
            line,
            column,
            "a list cannot begin on the line of its key",
            "put each `- …` on a line of its own, or write `[a, b]`",
        )
    if "quoted scalar" in context:
        return Trap(*start, "this quote is never closed", "close it, or remove it")
    return _structure(lines, line, column, start, problem)


def alias(lines: Sequence[str], line: int, column: int, anchors: Collection[str] = ()) -> Trap:
    """An unquoted ``*``: to YAML the name of something written before."""
    rest = _from(lines, line, column)
    token = re.split(r"[\s,\]}]", rest, maxsplit=1)[0]
    if token[1:] in anchors:
        what = f"`{token}` is an alias; a policy has none"
        return Trap(line, column, what, "write the value out")
    what = "YAML reads an unquoted `*` as an alias"
    return Trap(line, column, what, f'quote it: "{token}"')


def missing_space(key: str) -> tuple[str, str] | None:
    """What and cure if ``key`` is ``key:value`` written without its space."""
    match = _SPACELESS.match(key)
    if match is None or match["key"] not in ALL_KEYS:
        return None
    text = f"{match['key']}:{match['value']}"
    return f"`{text}` has no space after its colon", f"write `{match['key']}: {match['value']}`"


def _bad_start(lines: Sequence[str], line: int, column: int) -> Trap:
    rest = _from(lines, line, column)
    value = re.split(r"\s+#|[,\]}]\s*$", rest, maxsplit=1)[0].rstrip()
    return Trap(
        line, column, f"YAML gives `{rest[:1]}` a meaning of its own", f'quote it: "{value}"'
    )


def _second_colon(lines: Sequence[str], line: int, column: int) -> Trap:
    """``step: Build: linux``, or a key after a line that lost its space or indentation."""
    text = lines[line - 1] if line <= len(lines) else ""
    match = _VALUE.match(text)
    if match and ":" in match["lead"] and column > len(match["lead"]):
        value = match["value"]
        return Trap(
            line,
            len(match["lead"]) + 1,
            f"`{value}` has a colon and a space in it, which makes it a map",
            f'quote it: "{value}"',
        )
    spaceless = _look_back(lines, line)
    if spaceless is not None:
        return spaceless
    key = text.strip().partition(":")[0].removeprefix("- ")
    indent = len(text) - len(text.lstrip())
    return Trap(
        line,
        indent + 1,
        f"`{key}` is indented as if it belonged to the text above",
        "line it up with the keys beside it",
    )


def _missing_colon(lines: Sequence[str], line: int, column: int) -> Trap:
    spaceless = _look_back(lines, line + 1)
    if spaceless is not None:
        return spaceless
    text = _from(lines, line, column).strip()
    return Trap(
        line,
        column,
        f"`{text}` is no `key: value`",
        "a list item begins with `- `, a key ends with `:`",
    )


def _look_back(lines: Sequence[str], line: int) -> Trap | None:
    """The nearest line above with ``key:value``; the parser notices it only here."""
    for number in range(min(line, len(lines)), max(0, line - 6), -1):
        text = lines[number - 1]
        match = _SPACELESS.search(text)
        if match is None or match["key"] not in ALL_KEYS or text.lstrip().startswith("#"):
            continue
        value = match["value"].rstrip()
        return Trap(
            number,
            match.start("key") + 1,
            f"`{match['key']}:{value}` has no space after its colon",
            f"write `{match['key']}: {value}`",
        )
    return None


def _structure(
    lines: Sequence[str], line: int, column: int, start: tuple[int, int], problem: str
) -> Trap:
    """Brackets, braces and indentation that do not fit."""
    text = lines[line - 1] if line <= len(lines) else ""
    address = _ADDRESS6.search(text)
    if address:
        what = "YAML reads an unquoted `[` as the beginning of a list"
        return Trap(line, address.start() + 1, what, f'quote it: "{address[0]}"')
    if "got '{'" in problem:
        begin = max(text.rfind(mark, 0, column - 1) for mark in "[,") + 1
        found = _ITEM.match(text, begin)
        token = found[0].strip() if found else "shard{0..19}.x"
        at = text.find(token, begin) + 1 if found else column
        what = "YAML reads `{` inside `[…]` as the beginning of a map"
        return Trap(line, at, what, f'quote it: "{token}", or write one item a line: `- {token}`')
    if "expected ',' or" in problem:
        bracket = _from(lines, *start)[:1]
        closing = {"[": "]", "{": "}"}.get(bracket, "]")
        what = f"this `{bracket}` is never closed, or a comma is missing behind it"
        return Trap(*start, what, f"close it with `{closing}`; items are separated by commas")
    if "expected <block end>" in problem:
        return Trap(
            line,
            column,
            "this line does not fit the lines above it",
            "line up what belongs together; mixed text is quoted as a whole",
        )
    if "document start" in problem:
        return Trap(line, column, "a `%` directive above this line", "remove the directive")
    return Trap(line, column, f"this is not YAML: {problem}", "")


def _unprintable(lines: Sequence[str], error: yaml.reader.ReaderError) -> Trap:
    left = error.position
    for number, text in enumerate(lines, 1):
        if left <= len(text):
            return Trap(
                number,
                left + 1,
                f"a character that cannot be printed (U+{error.character:04X})",
                "remove it",
            )
        left -= len(text) + 1
    return Trap(1, 1, "a character that cannot be printed", "remove it")


def _from(lines: Sequence[str], line: int, column: int) -> str:
    return lines[line - 1][column - 1 :] if line <= len(lines) else ""


__all__ = ["Trap", "alias", "explain", "missing_space"]
