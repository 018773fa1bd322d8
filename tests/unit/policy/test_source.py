# SPDX-License-Identifier: MIT
"""YAML to nodes: every scalar its text and place, nothing constructed."""

from __future__ import annotations

import pytest

from leakstop.policy.problem import PolicyErrors
from leakstop.policy.source import DEPTH_LIMIT, SIZE_LIMIT, Mapping, Node, Scalar, Sequence, compose


def tree(text: str) -> Node:
    root, source = compose("policy.yml", text)
    assert source.problems == []
    return root


def plain(node: Node) -> object:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key.text: plain(value) for key, value in node.pairs}


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "off",
        "Yes",
        "null",
        "0443",
        "22:22",
        "1.0",
        "1e3",
        "2026-12-31",
        "0x1f",
        "1_000",
        ".inf",
    ],
)
def test_a_scalar_is_its_text(text: str) -> None:
    assert plain(tree(f"key: {text}")) == {"key": text}


def test_nodes_know_their_places() -> None:
    root = tree("a: 1\nb:\n  - x\n  - {c: y}\n")
    assert isinstance(root, Mapping)
    (_, (_, items)) = root.pairs
    assert isinstance(items, Sequence)
    first, second = items.items
    assert (first.line, first.column) == (3, 5)
    assert isinstance(second, Mapping)
    key, value = second.pairs[0]
    assert (key.line, key.column, value.line, value.column) == (4, 6, 4, 9)


def test_a_key_may_stand_twice_for_its_reader_to_report() -> None:
    root = tree("a: 1\na: 2\n")
    assert isinstance(root, Mapping)
    assert [key.text for key, _ in root.pairs] == ["a", "a"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter() -> None:
    assert plain(tree("\ufeffa: 1\r\nb: |\r\n  x\r\n  y\r\n")) == {"a": "1", "b": "x\ny\n"}


def test_one_document_may_begin_with_its_marker() -> None:
    assert plain(tree("---\na: 1\n...\n")) == {"a": "1"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "directive"),
        ("a:\n\t- b", "tab"),
        ("a: b\t# c", "tab"),
        ("a: *b", "alias"),
        ("a: [b", "never closed"),
        ("a: \x00", "printed"),
        ("a: " + "[" * (DEPTH_LIMIT + 1), "levels deep"),
        ("a: " + "{b: " * (DEPTH_LIMIT + 1), "levels deep"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, what: str) -> None:
    with pytest.raises(PolicyErrors) as error:
        _, source = compose("policy.yml", text)
        raise PolicyErrors(source.problems)
    assert what in str(error.value)


def test_a_tab_in_a_comment_is_no_matter() -> None:
    assert plain(tree("a: 1 #\tx\n#\ty\n")) == {"a": "1"}


@pytest.mark.parametrize(
    "text", ["a: &x 1", "a: &x [1]", "a: !!str 1", "a: !x {b: c}", "<<: {a: b}", "? [a]\n: b"]
)
def test_what_is_not_in_the_safe_subset_is_noted(text: str) -> None:
    _, source = compose("policy.yml", text)
    assert len(source.problems) == 1


def test_aliases_cannot_multiply() -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    _, source = compose("policy.yml", bomb)
    assert [problem.line for problem in source.problems] == [1, 2, 2, 2, 3, 3]


def test_a_text_of_the_greatest_size_is_read_and_a_larger_one_is_not() -> None:
    filler = "#" * (SIZE_LIMIT - 5)
    assert plain(tree(f"a: 1\n{filler}")) == {"a": "1"}
    with pytest.raises(PolicyErrors, match="larger than"):
        compose("policy.yml", f"a: 1\n{filler}#")
