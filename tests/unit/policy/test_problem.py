# SPDX-License-Identifier: MIT
"""Each mistake gets its message, with its place and its cure: golden files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from leakstop.policy.document import read
from leakstop.policy.inline import read_inline
from leakstop.policy.presets import NAMES
from leakstop.policy.problem import LIMIT, PolicyErrors, Problem, Source, raise_all

GOLDEN = Path(__file__).parents[2] / "golden" / "policy_errors"
INPUTS = sorted(path for path in GOLDEN.iterdir() if path.suffix in (".yml", ".allow"))


def message(path: Path) -> str:
    """What is said about a wrong policy or input."""
    text = path.read_bytes().decode()
    with pytest.raises(PolicyErrors) as error:
        if path.suffix == ".yml":
            read(".github/leakstop.yml", text, presets=NAMES)
        else:
            read_inline("input `allow`", text, presets=NAMES)
    return f"{error.value}\n"


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_a_mistake_is_explained(path: Path) -> None:
    golden = path.with_name(f"{path.name}.txt")
    said = message(path)
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(said)
    assert said == golden.read_text()


def test_every_golden_message_has_its_input() -> None:
    messages = {path.name.removesuffix(".txt") for path in GOLDEN.glob("*.txt")}
    assert messages == {path.name for path in INPUTS}


def test_an_error_is_a_policy_error_with_its_first_place() -> None:
    problem = Problem("a.yml", 3, 5, "what", "fix", "  - line")
    error = PolicyErrors([problem])
    assert (error.what, error.fix, error.where) == ("what", "fix", "a.yml:3:5")
    assert error.exit_code == 3
    assert error.problems == (problem,)


def test_problems_are_sorted_by_file_and_place() -> None:
    source = Source("b.yml", ("one", "two"))
    source.error((2, 1), "second")
    source.error((1, 1), "first")
    other = Source("a.yml", ())
    other.error((1, 1), "elsewhere")
    with pytest.raises(PolicyErrors) as error:
        raise_all([*source.problems, *other.problems])
    assert [problem.what for problem in error.value.problems] == ["first", "second", "elsewhere"]


def test_nothing_is_raised_for_nothing() -> None:
    raise_all([])


def test_what_is_not_printed_is_counted() -> None:
    problems = [Problem("a.yml", line, 1, "what") for line in range(1, LIMIT + 4)]
    text = str(PolicyErrors(problems))
    assert text.count("error: what") == LIMIT
    assert text.endswith("… and 3 more")


def test_a_policy_cannot_steer_the_terminal() -> None:
    text = str(Problem("a.yml", 1, 1, "\x1b[2Jwhat", "\r\nfix", "\x1b]0;title\x07"))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\r" not in text


def test_the_caret_stays_under_its_place_in_a_long_line() -> None:
    excerpt = "x" * 500 + "HERE" + "y" * 500
    lines = str(Problem("a.yml", 1, 501, "what", excerpt=excerpt)).split("\n")
    assert len(lines[1]) < 200
    assert lines[1][lines[2].index("^") :].startswith("HERE")
