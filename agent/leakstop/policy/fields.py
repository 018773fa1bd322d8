# SPDX-License-Identifier: MIT
"""Reading maps, lists and texts out of nodes, with what is wrong about them said once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from leakstop import __version__
from leakstop.policy import keys
from leakstop.policy.problem import Source
from leakstop.policy.source import Mapping, Node, Scalar, Sequence
from leakstop.policy.traps import missing_space
from leakstop.policy.words import VALUE_SYNONYMS, did_you_mean


@dataclass(frozen=True, slots=True)
class Field:
    """A key and its value."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class Fields:
    """The known keys of a map, each once."""

    pairs: tuple[Field, ...]

    def get(self, name: str) -> Field | None:
        """The field of this name, if it was written."""
        return next((field for field in self.pairs if field.key.text == name), None)

    def __getitem__(self, name: str) -> Field:
        field = self.get(name)
        if field is None:
            raise KeyError(name)
        return field


def read_fields(
    source: Source,
    node: Mapping,
    known: Collection[str],
    reserved: Collection[str],
    where: str,
) -> Fields:
    """Take the known keys of a map; report unknown, reserved, doubled and empty ones."""
    seen: dict[str, Field] = {}
    for key, value in node.pairs:
        if key.broken:
            continue
        name = key.text
        if name in seen:
            first = seen[name].key.line
            source.error(
                key, f"`{name}` is written twice in {where}", f"first in line {first}; join the two"
            )
        elif name in reserved:
            source.error(
                key,
                f"`{name}` needs leakstop ≥ {keys.RESERVED[name]}",
                f"take it out until then: leakstop {__version__} would not enforce it",
            )
        elif name not in known:
            _unknown(source, key, value, known, reserved, where)
        elif _is_nothing(value):
            source.error(key, f"`{name}` has no value", "give it one, or remove the line")
        else:
            seen[name] = Field(key, value)
    return Fields(tuple(seen.values()))


def items(
    source: Source, node: Node, name: str, *, may_be_empty: bool = False
) -> tuple[Scalar | Mapping, ...]:
    """The items of a list, or the one that stands for a list."""
    if not isinstance(node, Sequence):
        return (node,)
    if not node.items and not may_be_empty:
        source.error(node, f"`{name}` is an empty list", "give it an item, or remove it")
    for item in node.items:
        if isinstance(item, Sequence):
            source.error(item, f"a list inside the list of `{name}`", "remove the inner brackets")
    return tuple(item for item in node.items if not isinstance(item, Sequence))


def scalar(source: Source, node: Node, name: str) -> str | None:
    """The text of ``node``; ``None``, and an error, if it is none."""
    if not isinstance(node, Scalar):
        kind = "a list" if isinstance(node, Sequence) else "a map"
        source.error(node, f"`{name}` is {kind}, it should be a text", "write one text")
        return None
    if node.broken or is_empty(source, node, f"`{name}`"):
        return None
    return node.text


def is_empty(source: Source, node: Scalar, what: str) -> bool:
    """Whether there is nothing to read; an empty text is an error, a broken one was reported."""
    if not node.broken and not node.text.strip():
        source.error(node, f"{what} is empty", "give it a value, or remove it")
        return True
    return node.broken


def choice(source: Source, fields: Fields, name: str) -> str | None:
    """The value of a key with a fixed choice."""
    field = fields.get(name)
    text = scalar(source, field.value, name) if field else None
    if field is None or text is None:
        return None
    problem = check_choice(name, text)
    if problem is None:
        return text
    source.error(field.value, *problem)
    return None


def check_choice(name: str, text: str) -> tuple[str, str] | None:
    """What is wrong with ``name: text`` and its cure; ``None`` if nothing is."""
    choices = keys.CHOICES[name]
    if text in choices:
        return None
    listed = ", ".join(choices[:-1]) + f" or {choices[-1]}"
    meant = did_you_mean(text, choices, VALUE_SYNONYMS.get(name, {}))
    hint = f" (`{text}` is called {meant} here)" if meant else ""
    return f"`{name}: {text}` is not known", f"{listed}{hint}"


def _is_nothing(value: Node) -> bool:
    return isinstance(value, Scalar) and not value.text.strip() and not value.broken


def _unknown(
    source: Source,
    key: Scalar,
    value: Node,
    known: Collection[str],
    reserved: Collection[str],
    where: str,
) -> None:
    spaceless = missing_space(key.text) if _is_nothing(value) else None
    if spaceless:
        source.error(key, *spaceless)
        return
    meant = did_you_mean(key.text, (*known, *reserved))
    fix = f"did you mean `{meant}`?" if meant else f"known here: {', '.join(known)}"
    source.error(key, f"unknown key `{key.text}` in {where}", fix)


__all__ = [
    "Field",
    "Fields",
    "check_choice",
    "choice",
    "is_empty",
    "items",
    "read_fields",
    "scalar",
]
