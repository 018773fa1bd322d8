# SPDX-License-Identifier: MIT
"""Variables for later steps, as the runner reads them."""

from __future__ import annotations

import pytest

from leakstop.sensor.files import HIJACKS, variables


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("A=1\nB=2\n", ["A", "B"]),
        ("A<<EOF\nLD_PRELOAD=in a value\nEOF\nB=2", ["A", "B"]),
        ("A=x<<EOF\nLD_PRELOAD=/x\n", ["A", "LD_PRELOAD"]),  # the first of the two signs counts
        ("A<<EOF\nnever ended\n", ["A"]),
        ("no sign at all\nB=2", ["B"]),
    ],
)
def test_the_names_that_a_file_sets(text: str, names: list[str]) -> None:
    assert list(variables(text)) == names


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "PERL5OPT"])
def test_what_runs_before_a_program_does(name: str) -> None:
    assert HIJACKS.fullmatch(name)


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "PYTHONPATH", "PATH", "MY_ENV", "ld_preload"])
def test_what_ordinary_actions_set(name: str) -> None:
    assert not HIJACKS.fullmatch(name)
