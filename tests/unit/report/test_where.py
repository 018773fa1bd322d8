# SPDX-License-Identifier: MIT
"""Where something ran: in which container, and at which commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from leakstop.model.report import Job, Report
from leakstop.report import annotations, summary, text
from leakstop.report.summary import Detail
from unit.report import cases

RENDERERS: dict[str, Callable[[Report], str]] = {
    "summary": lambda report: summary.render(report, detail=Detail.FULL),
    "text": lambda report: " ".join(text.render(report).split()),
    "annotations": annotations.render,
}


def boxed(report: Report) -> Report:
    """The same, done in a container."""
    process = replace(cases.CURL, container="web (alpine:3)")
    return replace(
        report,
        findings=tuple(replace(each, process=process) for each in report.findings),
        flows=tuple(replace(each, process=process) for each in report.flows),
    )


@pytest.mark.parametrize("name", ["stopped", "leaked", "denied", "other"])
@pytest.mark.parametrize("render", RENDERERS.values(), ids=RENDERERS)
def test_the_container_stands_behind_the_program(
    render: Callable[[Report], str], name: str
) -> None:
    assert "in the container" not in render(cases.CASES[name])
    said = render(boxed(cases.CASES[name])).replace("`", "")
    assert "curl" in said.partition(" in the container web (alpine:3)")[0]
    assert " in the container web (alpine:3)" in said


@pytest.mark.parametrize("name", ["stopped", "leaked", "denied", "denied-many", "other"])
@pytest.mark.parametrize("render", [RENDERERS["summary"], RENDERERS["text"]])
def test_who_has_to_look_at_a_change_is_told_of_its_commit(
    render: Callable[[Report], str], name: str
) -> None:
    report = cases.CASES[name]
    assert render(report).count("9c1e2ab09c1e") == 1
    assert "commit" not in render(replace(report, job=Job())).replace("this commit's files", "")


@pytest.mark.parametrize("name", ["clean", "unnamed"])
@pytest.mark.parametrize("render", RENDERERS.values(), ids=RENDERERS)
def test_others_are_not(render: Callable[[Report], str], name: str) -> None:
    assert "9c1e2ab0" not in render(cases.CASES[name])
