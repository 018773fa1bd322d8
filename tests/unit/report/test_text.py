# SPDX-License-Identifier: MIT
"""The terminal: the same first line, no control sequence, no line too long."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest

from leakstop.report import text
from unit.report import cases, golden, hostile


@pytest.mark.parametrize("name", cases.CASES)
def test_golden(name: str) -> None:
    golden.check("text", f"{name}.txt", text.render(cases.CASES[name], vocabulary=cases.VOCABULARY))


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.parametrize("payload", [*hostile.PAYLOADS, "\u4e16" * 90, "x" * 300])
def test_no_line_is_too_long_or_does_anything(name: str, payload: str) -> None:
    shown = text.render(hostile.infect(cases.CASES[name], payload), width=60)
    for line in shown.splitlines():
        assert columns(line) <= 60
        assert "::" not in line
        assert "##[" not in line
        assert not any(unicodedata.category(char) in ("Cc", "Cf") for char in line)


def test_long_words_are_broken_not_cut() -> None:
    name = "".join(f"label{n}." for n in range(30)) + "test"
    shown = text.render(
        replace(cases.CLEAN_BLOCK, flows=(cases.flow(f"{name}:443", denied=True),)), width=40
    )
    assert name in "".join(line.strip() for line in shown.splitlines())


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def test_colour_is_only_used_when_told() -> None:
    assert "\x1b" not in text.render(cases.STOPPED)
    coloured = text.render(cases.STOPPED, colour=True).splitlines()
    assert coloured[0].startswith("\x1b[1;31m")
    assert coloured[0].endswith("\x1b[0m")
    assert "\x1b" not in "".join(coloured[1:])


def test_the_place_of_the_files_is_named() -> None:
    assert text.render(cases.CLEAN, where="/tmp/\x1breport").endswith(
        "All of it: /tmp/\\x1breport\n"
    )


def test_the_status_is_that_of_the_summary() -> None:
    status = " ".join(text.render(cases.CLEAN, width=500).splitlines()[1].split())
    assert status == (
        "Watched (audit mode) · 0 leaks · 9 hosts, all named in your policy · "
        "24 encrypted connections, all inspected · 0 events lost"
    )


def test_a_long_list_of_hosts_is_counted() -> None:
    flows = tuple(cases.flow(f"h{n}.test:443") for n in range(50))
    lines = text.render(replace(cases.UNNAMED, flows=flows)).splitlines()
    assert "  not named: 30 more" in lines
    assert len(lines) < 30


def test_reduced_coverage_stands_in_the_first_line_whatever_happened() -> None:
    for case in (cases.LEAKED, cases.DENIED, cases.CLEAN):
        shown = text.render(replace(case, coverage=cases.PARTLY.coverage), width=500)
        assert "only partly watched" in shown.splitlines()[0]
