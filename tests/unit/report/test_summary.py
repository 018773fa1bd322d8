# SPDX-License-Identifier: MIT
"""The summary: word for word for each kind of run, and safe for all of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from leakstop.model.report import Report
from leakstop.model.verdict import Leak
from leakstop.policy.presets import BUILT_IN
from leakstop.report import context, summary
from leakstop.report.summary import Detail, markdown, page, paste
from unit.report import cases, golden, hostile, scene

PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")


def render(report: Report, detail: Detail = Detail.AUTO) -> str:
    return summary.render(report, detail=detail, vocabulary=cases.VOCABULARY)


@pytest.mark.parametrize("name", cases.CASES)
def test_golden(name: str) -> None:
    golden.check("summary", f"{name}.md", render(cases.CASES[name]))


@pytest.mark.parametrize("name", ["clean", "clean-block"])
def test_golden_full(name: str) -> None:
    golden.check("summary", f"{name}-full.md", render(cases.CASES[name], Detail.FULL))


def test_a_clean_run_takes_six_lines() -> None:
    assert len(render(cases.CLEAN).splitlines()) == 6


def test_off_is_empty() -> None:
    assert render(cases.STOPPED, Detail.OFF) == ""


def test_limits_of_a_clean_run_are_counted() -> None:
    coverage = replace(scene.KERNEL, notes=("One thing was not seen.",))
    report = replace(cases.CLEAN, coverage=coverage)
    assert "Not seen: 1 limit" in render(report).splitlines()[-1]
    assert "- One thing was not seen." in render(report, Detail.FULL)


def test_what_left_is_said_first() -> None:
    lines = render(cases.LEAKED).splitlines()
    assert lines[1].startswith("**Leaked: ")
    assert lines[3].startswith("**Rotate now")


def test_a_leak_that_only_warns_is_a_leak() -> None:
    findings = tuple(replace(finding, failing=False) for finding in cases.LEAKED.findings)
    report = replace(cases.LEAKED, leak=Leak.WARN, verdict="pass", findings=findings)
    assert "**Leaked: " in render(report)


@pytest.mark.parametrize("name", cases.CASES)
def test_nothing_is_claimed_that_was_not_inspected(name: str) -> None:
    assert "everything inspected" not in render(cases.CASES[name])


@pytest.mark.parametrize("name", cases.CASES)
def test_hosts_of_an_index_are_a_word(name: str) -> None:
    assert "mirror.test" not in render(cases.CASES[name], Detail.FULL)


def test_hosts_of_a_run_with_a_leak_are_not_proposed() -> None:
    report = replace(cases.STOPPED, flows=(*cases.STOPPED.flows, cases.flow("new.test:443")))
    assert "**Next:**" not in render(report)


def test_an_unknown_action_name_is_never_pasted() -> None:
    for ref in ("", "x@v1\n      - run: evil", "$(x)/y@v1"):
        report = replace(cases.UNNAMED, job=replace(cases.JOB, action_ref=ref))
        assert f"- uses: {paste.FALLBACK_REF}\n" in render(report)


def test_many_hosts_stay_below_the_limit() -> None:
    flows = tuple(cases.flow(f"h{n}.{'x' * 50}.test:443", step=f"S{n}") for n in range(20_000))
    report = replace(cases.UNNAMED, flows=flows)
    text = render(report)
    assert len(text.encode()) <= page.MAX_BYTES
    assert f"# and {20_000 - 500:,} more" in text
    assert f"and {20_000 - markdown.MAX_ROWS:,} more rows" in text


def test_a_summary_that_is_too_long_still_says_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_BYTES", 600)
    text = render(cases.STOPPED)
    assert "**0 of 40 bytes of `NPM_TOKEN` left**" in text
    assert text.rstrip().endswith("see `report.json`.")
    assert len(text.encode()) <= 600


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.parametrize("payload", hostile.PAYLOADS)
def test_hostile_text_changes_no_structure(name: str, payload: str) -> None:
    """Every observed text is replaced by a payload: the document keeps its shape."""
    tame = render(hostile.infect(cases.CASES[name], "not a name"), Detail.FULL)
    wild = render(hostile.infect(cases.CASES[name], payload), Detail.FULL)
    assert shape(wild) == shape(tame)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", wild)


def shape(text: str) -> list[tuple[str, ...]]:
    """The blocks of a document, and what is inside each line but for text and code."""
    found = []
    for token in PARSER.parse(text):
        children = [c.type for c in token.children or [] if c.type not in ("text", "code_inline")]
        html = token.content if token.type.startswith("html") else ""
        found.append((token.type, html, *children))
    return found


def test_the_word_for_what_ships_with_us() -> None:
    assert context.BUILT_IN == BUILT_IN
