# SPDX-License-Identifier: MIT
"""Destinations as text: the action's input, and what is pasted into it."""

from __future__ import annotations

import pytest

from leakstop.policy.destination import Reference
from leakstop.policy.inline import read_home, read_inline
from leakstop.policy.problem import PolicyErrors
from leakstop.policy.rules import Rule

PRESETS = ("github", "python")


def words(text: str) -> list[str]:
    return [entry.ref.text for entry in read_inline("input `allow`", text, presets=PRESETS)]


@pytest.mark.parametrize(
    "text",
    [
        "github\napi.example.test:8443\ndb.test:5432\n",
        "github api.example.test:8443 db.test:5432",
        "github,api.example.test:8443, db.test:5432",
        "  github # the server\n\n# a line\n  api.example.test:8443, db.test:5432 # both\n",
        "github\r\napi.example.test:8443\r\ndb.test:5432\r\n",
        "github\tapi.example.test:8443\n\tdb.test:5432",
    ],
)
def test_white_space_and_commas_separate(text: str) -> None:
    assert words(text) == ["github", "api.example.test:8443", "db.test:5432"]


@pytest.mark.parametrize("text", ["", "\n", "  \n\t\n", "# nothing\n# at all\n", ",\n,"])
def test_nothing_is_nothing(text: str) -> None:
    assert words(text) == []


def test_an_origin_is_the_input_and_its_line() -> None:
    rule, word = read_inline("input `allow`", "\na.test\n\npython\n", presets=PRESETS)
    assert isinstance(rule, Rule)
    assert rule.ref.place() == "input `allow`:2"
    assert isinstance(word, Reference)
    assert word.ref.place() == "input `allow`:4"


@pytest.mark.parametrize(
    "text",
    [
        "allowed-endpoints: >\n  a.test:443\n  *.b.test:443\n  c.test:80\n",
        "  a.test:443\n  *.b.test:443\n  c.test:80\n",
        "allowed-endpoints: |\na.test:443\n*.b.test:443\nc.test:80",
        "allowed-endpoints: a.test:443 *.b.test:443 c.test:80",
        "a.test:443 *.b.test:443 c.test:80\n",
    ],
)
def test_another_tools_block_pastes(text: str) -> None:
    assert words(text) == ["a.test:443", "*.b.test:443", "c.test:80"]


def test_an_empty_variable_leaves_no_trace() -> None:
    assert words("a.test\n  # staging\n\n") == ["a.test"]


@pytest.mark.parametrize("text", ["a.test # b c.test", "a.test # b c.test\n", "# a.test b.test"])
def test_a_comment_in_one_line_hides_what_follows_and_is_refused(text: str) -> None:
    with pytest.raises(PolicyErrors, match="folded"):
        words(text)


def test_a_hash_inside_a_word_is_no_comment() -> None:
    with pytest.raises(PolicyErrors, match="path is not part"):
        words("a.test/x#y\n")


def test_every_wrong_word_is_named_with_its_place() -> None:
    with pytest.raises(PolicyErrors) as error:
        words("good.test, bad..test\n  gihub\n")
    assert [problem.where for problem in error.value.problems] == [
        "input `allow`:1:12",
        "input `allow`:2:3",
    ]


def test_a_home_is_read_like_a_destination() -> None:
    home = read_home("input `secrets`", "TOKEN", ("a.test:8443", "github"), presets=PRESETS)
    assert home.text == ("a.test:8443", "github")
    assert len(home.entries) == 2
    assert home.ref.text == "TOKEN"


def test_nowhere_is_a_home_without_a_place() -> None:
    home = read_home("input `secrets`", "TOKEN", ("nowhere",), presets=PRESETS)
    assert (home.entries, home.text) == ((), ("nowhere",))


def test_a_home_that_is_none_is_refused() -> None:
    with pytest.raises(PolicyErrors, match="gihub"):
        read_home("input `secrets`", "TOKEN", ("gihub",), presets=PRESETS)
