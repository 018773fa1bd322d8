# SPDX-License-Identifier: MIT
"""YAML text to nodes, every scalar its text, with the place of each.

Nodes are composed, values never constructed: ``no``, ``0443``, ``22:22`` and ``1.0`` stay
what their author typed, and the schema says what they mean. The safe subset has no anchors,
aliases, merge keys or tags: a policy is read by people who must be right about it.

PyYAML's own parser is used even where libyaml is there, so that a policy is accepted or
refused alike on every machine; long lists of hosts are written as text (``allow: |``),
which is scanned by lines and costs next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

import yaml

from leakstop.policy import traps
from leakstop.policy.problem import PolicyErrors, Problem, Source, raise_all

SIZE_LIMIT = 8 * 1024 * 1024
"""Characters of one file: more than 100,000 hosts."""

DEPTH_LIMIT = 16
"""Levels of nesting; the language needs six."""

_ENDS = r"\0\r\n\x85\u2028\u2029"
"""What ends a line, for YAML 1.1 and PyYAML."""

_TOP_KEY = re.compile(r"[a-z][a-z-]*\s*:")
_TAB = re.compile(r"^[^#]*?\t")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text."""

    text: str
    line: int
    column: int
    style: str = ""
    """Empty for plain, else the YAML indicator: a quote, ``|`` or ``>``."""
    broken: bool = False
    """It was reported already and means nothing."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map; keys may occur twice, whoever reads it says so."""

    pairs: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int


Node = Union[Scalar, Sequence, Mapping]


def compose(name: str, text: str) -> tuple[Node, Source]:
    """Read ``text`` into nodes.

    Returns:
        The root node, and the source with those errors that do not keep it from being read.

    Raises:
        PolicyErrors: the text is no YAML, or not of the safe subset in a way that hides the
            rest.
    """
    if text.startswith("\ufeff"):
        text = text[1:]
    source = Source(name, tuple(text.splitlines()))
    if len(text) > SIZE_LIMIT:
        source.error(
            (1, 1), f"the policy is larger than {SIZE_LIMIT >> 20} MiB", "split it", show=False
        )
        raise PolicyErrors(source.problems)
    _reject_tabs(source)
    try:
        root = _Composer(source, text).document()
    except yaml.YAMLError as error:
        trap = traps.explain(source.lines, error)
        _note(source, (trap.line, trap.column), trap.what, trap.fix)
        raise PolicyErrors(source.problems) from error
    if root is None:
        source.error((1, 1), "the policy is empty", "begin with `version: 1`")
        raise PolicyErrors(source.problems)
    return root, source


def _reject_tabs(source: Source) -> None:
    """YAML forbids tabs in some places and takes them in others; here there are none."""
    for number, line in enumerate(source.lines, 1):
        if "\t" in line and (match := _TAB.match(line)):
            what = "a tab: YAML allows none in indentation"
            _note(source, (number, match.end()), what, "use spaces")
            raise_all(source.problems)


def _note(source: Source, at: tuple[int, int], what: str, fix: str) -> None:
    """Note an error of the text itself, which may quote what it found."""
    above = (line for line in source.lines[at[0] - 1 :: -1] if _TOP_KEY.match(line))
    if next(above, "").startswith("secrets"):
        # Somebody may have written a value where its home belongs, expanded by the workflow.
        what = "this part of `secrets` is no plain YAML (not printed: it may be a value)"
        fix = "write `NAME: home`; quote a home that begins with `*` or `[`"
        source.error(at, what, fix, show=False)
        return
    source.error(at, what, fix)


class _Loader(yaml.SafeLoader):
    """PyYAML's own, which would read a long block (``|``) character by character."""

    _literal = False

    def scan_block_scalar(self, style: str) -> yaml.ScalarToken:
        """Read a block, and know of which kind it is."""
        self._literal = style == "|"
        return super().scan_block_scalar(style)

    def scan_block_scalar_breaks(self, indent: int) -> tuple[list[str], yaml.Mark]:
        """Read what lies between two lines: empty lines, and here all lines but the last of
        those that follow each other without any."""
        breaks, end = super().scan_block_scalar_breaks(indent)
        if self._literal and self.column == indent:
            lines = re.compile(rf"(?:[^{_ENDS}]*\n {{{indent}}}(?=[^{_ENDS}]))*")
            found = lines.match(self.buffer, self.pointer)
            text = found[0] if found else ""
            breaks.append(text.replace("\n" + " " * indent, "\n"))
            self.pointer += len(text)
            self.index += len(text)
            self.line += text.count("\n")
        return breaks, end


class _Composer:
    """Builds nodes from the parser's events."""

    def __init__(self, source: Source, text: str) -> None:
        self._source = source
        self._anchors: set[str] = set()
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_Loader))

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._stop(event, "a second document begins here", "one file, one policy")
                if event.version or event.tags:
                    self._stop(event, "a `%` directive", "remove the line")
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line, column = _place(event)
        if depth > DEPTH_LIMIT:
            self._stop(event, f"nested more than {DEPTH_LIMIT} levels deep", "a policy needs six")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line, column)
        broken = self._has_properties(event, line, column)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(event.value or "", line, column, event.style or "", broken)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return Sequence(tuple(items), line, column)
        pairs = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(self._node(event, depth + 1))
            pairs.append((key, self._node(next(self._events), depth + 1)))
        return Mapping(tuple(pairs), line, column)

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar):
            if node.text == "<<" and not node.style:
                self._source.error(node, "merge keys are not used here", "write the keys out")
                return Scalar("<<", node.line, node.column, broken=True)
            return node
        self._source.error(node, "a list or map stands where a key belongs", "quote it")
        return Scalar("", node.line, node.column, broken=True)

    def _alias(self, event: yaml.AliasEvent, line: int, column: int) -> Scalar:
        trap = traps.alias(self._source.lines, line, column, self._anchors)
        _note(self._source, (line, column), trap.what, trap.fix)
        return Scalar(event.anchor or "", line, column, broken=True)

    def _has_properties(self, event: yaml.Event, line: int, column: int) -> bool:
        """Whether an anchor or a tag stands before a node; both are errors."""
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            self._anchors.add(anchor)
            _note(
                self._source,
                (line, column),
                f"`&{anchor}` is an anchor; a policy has none",
                "write the value out where it is used; a text that begins with `&` is quoted",
            )
        if tag:
            _note(
                self._source,
                (line, column),
                "a `!` tag: every value of a policy is text",
                "remove the tag, or quote the text",
            )
        return bool(anchor or tag)

    def _stop(self, event: yaml.Event, what: str, fix: str) -> None:
        self._source.error(_place(event), what, fix)
        raise PolicyErrors(self._source.problems)


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


__all__ = [
    "DEPTH_LIMIT",
    "SIZE_LIMIT",
    "Mapping",
    "Node",
    "PolicyErrors",
    "Problem",
    "Scalar",
    "Sequence",
    "Source",
    "compose",
]
