# SPDX-License-Identifier: MIT
"""What is wrong with a policy, and where, in the form that people see.

A file is read to its end: the first error and all others that do not follow from it are
shown together, so that nobody has to fix a policy one line a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, Union

from leakstop.errors import PolicyError

LIMIT = 20
"""Most errors shown at once; the rest is counted."""

_WIDTH = 160
_MARGIN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a person has to change."""

    source: str
    """The file or input."""
    line: int
    """Counted from 1."""
    column: int
    """Counted from 1."""
    what: str
    fix: str = ""
    """The cure, something to type where possible."""
    excerpt: str = ""
    """The line as written; empty where it could hold a secret."""

    @property
    def where(self) -> str:
        """``file:line:column``."""
        return f"{self.source}:{self.line}:{self.column}"

    def __str__(self) -> str:
        lines = [f"{self.where}: error: {_plain(self.what)}"]
        if self.excerpt.strip():
            text, caret = _window(_plain(self.excerpt), self.column - 1)
            lines += [f"   | {text}", f"   | {' ' * caret}^"]
        if self.fix:
            lines.append(f"   = {_plain(self.fix)}")
        return "\n".join(lines)


class PolicyErrors(PolicyError):
    """A policy with one or more errors; ``str`` is what the terminal shows."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.what, fix=first.fix, where=first.where)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:LIMIT]]
        hidden = len(self.problems) - len(shown)
        if hidden:
            shown.append(f"… and {hidden} more")
        return "\n\n".join(shown)


class Located(Protocol):
    """Anything that knows where it was written."""

    @property
    def line(self) -> int:
        """Counted from 1."""

    @property
    def column(self) -> int:
        """Counted from 1."""


Spot = Union[Located, tuple[int, int]]
"""A place: something written, or its ``(line, column)``."""


@dataclass(slots=True)
class Source:
    """A text by its name and lines, and what was found wrong with it so far."""

    name: str
    lines: Sequence[str]
    problems: list[Problem] = field(default_factory=list)
    _quotes: bool = True

    @contextmanager
    def unquoted(self) -> Iterator[None]:
        """Print no line meanwhile: somebody may have written a value where its home belongs."""
        before, self._quotes = self._quotes, False
        try:
            yield
        finally:
            self._quotes = before

    def error(self, at: Spot, what: str, fix: str = "", *, show: bool = True) -> None:
        """Note an error; without ``show`` the line is not printed."""
        line, column = at if isinstance(at, tuple) else (at.line, at.column)
        show = show and self._quotes and 0 < line <= len(self.lines)
        excerpt = self.lines[line - 1] if show else ""
        self.problems.append(Problem(self.name, line, column, what, fix, excerpt))


def raise_all(problems: Iterable[Problem]) -> None:
    """Raise the problems together, in the order of their places; do nothing if there are none."""
    found = list(problems)
    if not found:
        return
    files = {source: order for order, source in enumerate(dict.fromkeys(p.source for p in found))}
    raise PolicyErrors(sorted(found, key=lambda p: (files[p.source], p.line, p.column)))


def _plain(text: str) -> str:
    # A policy may come from a pull request: nothing in it may steer the terminal.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _window(text: str, caret: int) -> tuple[str, int]:
    """Cut a long line down to the part around the caret."""
    if len(text) <= _WIDTH:
        return text, caret
    start = max(0, caret - _MARGIN)
    cut = text[start : start + _WIDTH]
    lead = "…" if start else ""
    tail = "…" if start + _WIDTH < len(text) else ""
    return f"{lead}{cut}{tail}", caret - start + len(lead)
