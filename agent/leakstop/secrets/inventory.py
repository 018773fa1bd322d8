# SPDX-License-Identifier: MIT
"""The secrets that a job told us about.

A value is held in a ``Secret`` and nowhere else. No ``repr`` and no error shows a value or a
part of one: errors name the line and the secret, and are never raised while an exception
that holds the text (``JSONDecodeError.doc``) is being handled.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from leakstop.errors import UsageError

MIN_BYTES = 8
"""Shorter values occur by chance, and the kernel compares 8 bytes at a time."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DECLARATION = re.compile(rf"({_NAME.pattern})[ \t]*(?:@([^=]*))?=(.*)", re.DOTALL)

_COMMON_WORDS = """
true false none null undefined default enabled disabled example testing staging release
production development password passw0rd password1 password123 changeme changeit secret
username administrator localhost placeholder anonymous 12345678 123456789 1234567890
"""
_MIN_VARIETY = 4
"""A value of fewer different bytes (``xxxxxxxx``, ``********``) is a placeholder."""

_MULTI_LINE_FIX = (
    "one NAME=value on each line; a value of several lines goes through toJSON: "
    "NAME=${{ toJSON(secrets.NAME) }}"
)


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that may leave only for its home."""

    name: str
    value: bytes = field(repr=False)
    """Without white space around it: shells and clients drop a trailing line break."""
    home: tuple[str, ...] = ()
    """Destinations as written behind ``NAME@``; empty if none were."""
    source: str = ""
    """Where it was found, or ``canary``; empty when it was declared."""


def parse_input(text: str, *, where: str = "secrets") -> tuple[Secret, ...]:
    """Read the action's ``secrets`` input: ``NAME=value`` or ``NAME@home=value`` on each line.

    A value that is a JSON string is decoded, so that a private key fits on one line. Empty
    values are ignored: a pull request from a fork has no secrets.

    Raises:
        UsageError: a line is no declaration, or its value cannot be watched.
    """
    secrets: list[Secret] = []
    lines: dict[str, int] = {}
    # Not splitlines(): that also cuts at form feeds and U+2028, which a value may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(" \t\r")
        if not line:
            continue
        spot = f"{where}, line {number}"
        name, home, value = _split(line, spot)
        if name in lines:
            raise UsageError(
                f"{name} is declared twice",
                why=f"the first one is on line {lines[name]}",
                fix="keep one; several homes are a list: NAME@one,two=value",
                where=spot,
            )
        lines[name] = number
        secret = _secret(name, _decoded(value), home, spot)
        if secret:
            secrets.append(secret)
    return tuple(secrets)


def from_environment(name: str, value: str | None) -> Secret | None:
    """Make the secret of ``--secret NAME`` from the value of that environment variable.

    Returns ``None`` for an empty value, as ``parse_input`` ignores it.

    Raises:
        UsageError: ``name`` is no name, the variable is not set, or it cannot be watched.
    """
    where = "--secret"
    if not _NAME.fullmatch(name):
        # Not quoted: whoever wrote --secret "$TOKEN" put the value here.
        raise UsageError(
            "--secret takes the name of an environment variable",
            fix="--secret NAME, with the value in the environment, never on a command line",
        )
    if value is None:
        raise UsageError(
            f"{name} is not set",
            fix=f"export {name} first; sudo drops it without `--preserve-env={name}`",
            where=where,
        )
    return _secret(name, value, (), where)


def _split(line: str, where: str) -> tuple[str, tuple[str, ...], str]:
    match = _DECLARATION.fullmatch(line)
    # "QUJD==" is the last line of a wrapped base64 value, not a secret named QUJD.
    if not match or match[3] == "=":
        whole_context = line == "{"
        raise UsageError(
            "this line is no NAME=value",
            why="it looks like toJSON(secrets), which hands every secret to this job"
            if whole_context
            else "it may continue the value above, which would then be known only in part",
            fix="list the secrets that this job uses, one NAME=value on each line"
            if whole_context
            else _MULTI_LINE_FIX,
            where=where,
        )
    name, written, value = match[1], match[2], match[3]
    if written is None:
        return name, (), value
    home = tuple(part.strip() for part in written.split(","))
    if not all(home):
        raise UsageError(
            f"{name}@ names no home",
            fix="NAME@host=value, NAME@one,two=value or NAME@nowhere=value",
            where=where,
        )
    return name, home, value


def _decoded(value: str) -> str:
    # toJSON of a secret that does not exist is the word null.
    if value.strip() == "null":
        return ""
    if not value.lstrip().startswith('"'):
        return value
    try:
        decoded = json.loads(value)
    except ValueError:
        return value  # a plain value that happens to begin with a quotation mark
    return decoded if isinstance(decoded, str) else value


def _secret(name: str, text: str, home: tuple[str, ...], where: str) -> Secret | None:
    try:
        value = text.encode("utf-8", "surrogateescape").strip()
    except UnicodeEncodeError:
        value = None
    if value is None:
        raise UsageError(f"the value of {name} is not valid Unicode", where=where)
    if not value:
        return None
    problem = _problem(name, value)
    if problem:
        raise UsageError(
            f"the value of {name} {problem}",
            why="it would be found where it means nothing, and ordinary commands would be stopped",
            fix="declare only real secrets here, or make this one longer",
            where=where,
        )
    return Secret(name, value, home)


def _problem(name: str, value: bytes) -> str:
    word = value.lower().decode("utf-8", "replace")
    if word in _COMMON_WORDS.split():
        return "is a common word"
    if word == name.lower():
        return "is its own name"
    if len(value) < MIN_BYTES:
        return f"is shorter than {MIN_BYTES} bytes"
    if len(set(value)) < _MIN_VARIETY:
        return f"has fewer than {_MIN_VARIETY} different characters"
    return ""
