# SPDX-License-Identifier: MIT
"""docs/threat-model.md: a claim is as good as the test that it names."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs/threat-model.md").read_text()
ROWS = re.findall(r"^\| ([CG]\d+) \| (.+) \| (.+) \|$", PAGE, re.M)
CLAIMS = [row for row in ROWS if row[0].startswith("C")]
GAPS = [row[0] for row in ROWS if row[0].startswith("G")]


def test_every_claim_names_tests_that_exist() -> None:
    assert len(CLAIMS) > 30
    for number, _, shown in CLAIMS:
        named = re.findall(r"`(tests/[^`]+)`", shown)
        assert named, f"{number} is shown by nothing"
        for path, _, test in (one.partition("::") for one in named):
            file = REPOSITORY / path
            assert file.is_dir() if path.endswith("/") else file.is_file(), f"{number}: {path}"
            if test:
                assert f"def {test}(" in file.read_text(), f"{number}: {path} has no {test}"


def test_each_number_stands_once_and_none_is_left_out() -> None:
    assert [number for number, _, _ in CLAIMS] == [f"C{n + 1}" for n in range(len(CLAIMS))]
    assert sorted(GAPS, key=lambda gap: int(gap[1:])) == [f"G{n + 1}" for n in range(len(GAPS))]
    rows = [line for line in PAGE.splitlines() if re.match(r"\| [CG]?\d", line)]
    assert len(rows) == len(ROWS), "a row is not of the form that is checked here"


def test_every_gap_that_a_test_names_is_one() -> None:
    senders = sorted((REPOSITORY / "tests/bypass/senders").glob("*.py"))
    named = {gap for path in senders for gap in re.findall(r'gap="(\w+)"', path.read_text())}
    assert named
    assert named <= set(GAPS)
