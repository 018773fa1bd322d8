# SPDX-License-Identifier: MIT
"""Destinations as text: the action's ``allow`` input, and ``allow: |`` in a file.

White space and commas separate, ``#`` begins a comment. The same words as in a list, and
what other tools call ``allowed-endpoints`` pastes unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.destination import DestinationError, Entry, parse
from leakstop.policy.problem import Source, Spot, raise_all

_COMMENT = re.compile(r"(?:^|(?<=[\s,]))#.*$")
_WORD = re.compile(r"[^\s,]+")
# The first line of a block that was copied together with its key.
_PASTED_KEY = re.compile(r"^\s*(?:allowed-endpoints|allow)\s*:\s*[|>]?[+-]?(?=\s|$)")


@dataclass(frozen=True, slots=True)
class HomeText:
    """Where a secret may go, before words are looked up."""

    entries: tuple[Entry, ...]
    """Empty: nowhere."""
    text: tuple[str, ...]
    """As written."""
    ref: RuleRef
    """The secret's name, and where it was written."""


def read_inline(name: str, text: str, *, presets: Collection[str]) -> tuple[Entry, ...]:
    """Read the action's ``allow`` input, or a value of ``--allow``.

    Raises:
        PolicyErrors: a word is no destination; all such words are in it.
    """
    source = Source(name, tuple(text.splitlines()))
    if is_folded(text):
        refuse_folded(source, (1, text.index("#") + 1))
        raise_all(source.problems)
    lines = source.lines
    if lines and (pasted := _PASTED_KEY.match(lines[0])):
        lines = (" " * pasted.end() + lines[0][pasted.end() :], *lines[1:])
    entries: list[Entry] = []
    for word, line, column in words(lines, 1):
        ref = RuleRef(word, name, line)
        entries += read_word(source, (line, column), ref, Action.ALLOW, presets)
    raise_all(source.problems)
    return tuple(entries)


def read_home(
    source: str, name: str, texts: Sequence[str], *, presets: Collection[str]
) -> HomeText:
    """Read where the secret ``name`` may go, as given outside a file.

    Raises:
        PolicyErrors: a text is no destination.
    """
    ref = RuleRef(name, source)
    if tuple(texts) == ("nowhere",):
        return HomeText((), ("nowhere",), ref)
    found = Source(source, ())
    entries: list[Entry] = []
    for text in texts:
        entries += read_word(found, (1, 1), RuleRef(text, source), Action.ALLOW, presets)
    raise_all(found.problems)
    return HomeText(tuple(entries), tuple(texts), ref)


def words(lines: Iterable[str], first_line: int) -> Iterator[tuple[str, int, int]]:
    """The words of some lines, each with its line and column; the first is ``first_line``."""
    for number, line in enumerate(lines, first_line):
        kept = _COMMENT.sub("", line) if "#" in line else line
        split = kept.split()
        if len(split) == 1 and "," not in kept:  # nearly always
            yield split[0], number, kept.index(split[0]) + 1
            continue
        for match in _WORD.finditer(kept):
            yield match[0], number, match.start() + 1


def read_word(
    source: Source, at: Spot, ref: RuleRef, action: Action, presets: Collection[str]
) -> tuple[Entry, ...]:
    """Read the destination ``ref.text``; note the error at ``at`` if it is none."""
    try:
        return parse(ref.text, action, ref, presets=presets)
    except DestinationError as error:
        source.error(at, error.what, error.fix)
        return ()


def is_folded(text: str) -> bool:
    """Whether a comment swallowed what followed it: one line with a ``#`` and words behind."""
    line = text.strip()
    return "\n" not in line and _COMMENT.search(line) is not None


def refuse_folded(source: Source, at: Spot) -> None:
    """Note the error that ``is_folded`` found."""
    source.error(
        at,
        "a `#` in a folded text (`>`): all that follows it would be a comment",
        "use `|`, which keeps the lines",
    )


__all__ = [
    "HomeText",
    "is_folded",
    "read_home",
    "read_inline",
    "read_word",
    "refuse_folded",
    "words",
]
