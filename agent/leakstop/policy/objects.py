# SPDX-License-Identifier: MIT
"""JSON objects that say everything once and nothing unknown, or are refused."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, TypeVar

from leakstop.errors import PolicyError

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


class Fields:
    """The fields of a JSON object, each of which must be taken exactly once."""

    def __init__(self, document: object, what: str) -> None:
        if not isinstance(document, dict):
            raise refused(f"a {what} that is no object")
        self._left = dict(document)
        self._what = what

    def has(self, name: str) -> bool:
        """Whether it is there, and was not taken yet."""
        return name in self._left

    def rest(self) -> dict[str, Any]:
        """What was not taken yet."""
        return self._left

    def take(self, name: str, kind: type[T]) -> T:
        """Take a field of exactly this type: JSON's ``true`` is no number."""
        value = self._left.pop(name, None)
        if type(value) is not kind:
            raise refused(f"`{name}` of a {self._what} is missing or of the wrong type")
        return value

    def word(self, name: str, words: Iterable[str]) -> str:
        """Take a field that is one of ``words``."""
        value = self.take(name, str)
        if value not in words:
            raise refused(f"`{name}` of a {self._what} is {value!r}")
        return value

    def choice(self, name: str, kind: type[E]) -> E:
        """Take a field that is the value of a member of ``kind``."""
        return kind(self.word(name, [member.value for member in kind]))

    def end(self) -> None:
        """Refuse what nobody took."""
        if self._left:
            raise refused(f"unknown field `{min(self._left)}` of a {self._what}")


def refused(what: str) -> PolicyError:
    """The error for whoever finds ``what``."""
    return PolicyError(
        f"the compiled policy is refused: {what}",
        why="it was changed on its way, or another version of Leakstop wrote it",
        fix="compile it again with this version",
    )


def texts(items: list[object]) -> tuple[str, ...]:
    """Take the items of a list of texts."""
    found = tuple(item for item in items if isinstance(item, str))
    if len(found) != len(items):
        raise refused("a list with something else than text in it")
    return found


__all__ = ["Fields", "refused", "texts"]
