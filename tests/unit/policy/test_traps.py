# SPDX-License-Identifier: MIT
"""YAML's own errors, explained. The messages themselves are golden files: test_problem."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from leakstop.policy.problem import PolicyErrors
from leakstop.policy.source import compose
from leakstop.policy.traps import explain, missing_space


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("to:registry:npm", "write `to: registry:npm`"),
        ("ports:[443]", "write `ports: [443]`"),
        ("registry:pip", "write `registry: pip`"),
    ],
)
def test_a_key_without_its_space_is_seen(key: str, fix: str) -> None:
    found = missing_space(key)
    assert found is not None
    assert found[1] == fix


@pytest.mark.parametrize("key", ["host", "a.test:443", "https://a.test", "unknown:x"])
def test_other_colons_are_left_alone(key: str) -> None:
    assert missing_space(key) is None


def test_an_error_without_a_place_still_has_a_sentence() -> None:
    trap = explain(["a"], yaml.YAMLError("odd"))
    assert (trap.line, trap.column) == (1, 1)
    assert trap.what == "this is not YAML"


@settings(deadline=None)
@given(st.text(alphabet="ab*&!:-[]{},#|>'\"%@`? \n.0{}", max_size=60))
def test_whatever_is_typed_gets_nodes_or_a_message_inside_the_text(text: str) -> None:
    try:
        _, source = compose("policy.yml", text)
        problems = source.problems
    except PolicyErrors as error:
        problems = list(error.problems)
    lines = text.count("\n") + 2
    for problem in problems:
        assert problem.what
        assert 1 <= problem.line <= lines
        assert problem.column >= 1
