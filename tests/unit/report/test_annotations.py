# SPDX-License-Identifier: MIT
"""Annotations: few, constant titles, and nothing when there is nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from leakstop.model.finding import Severity
from leakstop.model.report import Report
from leakstop.model.verdict import Reason
from leakstop.report import annotations
from unit.report import cases, golden, hostile, scene

COMMAND = re.compile(
    r"::(error|warning|notice) (?:file=\.github/workflows/[^:,]+,line=\d+,)?"
    r"title=Leakstop%3A ([^:,]+)::(.*)"
)


def render(report: Report) -> list[str]:
    return annotations.render(report, vocabulary=cases.VOCABULARY).splitlines()


def levels(report: Report) -> list[str]:
    return [line.split(" ")[0].strip(":") for line in render(report)]


@pytest.mark.parametrize("name", cases.CASES)
def test_golden(name: str) -> None:
    text = annotations.render(cases.CASES[name], vocabulary=cases.VOCABULARY)
    golden.check("annotations", f"{name}.txt", text)


@pytest.mark.parametrize("name", ["clean", "clean-block"])
def test_a_clean_run_has_none(name: str) -> None:
    assert render(cases.CASES[name]) == []


def test_unnamed_hosts_are_one_notice() -> None:
    assert levels(cases.UNNAMED) == ["notice"]


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.parametrize("payload", hostile.PAYLOADS)
def test_titles_are_constants(name: str, payload: str) -> None:
    report = hostile.infect(cases.CASES[name], payload)
    for line in render(report):
        match = COMMAND.fullmatch(line)
        assert match is not None
        assert match[2] in TITLES
        assert "::" not in match[3]
        assert "##[" not in line


TITLES = {
    "a secret was stopped on its way out",
    "a secret left",
    "a host was denied",
    "a socket was refused",
    "a question was refused",
    "hosts not named yet",
    "only partly watched",
    "not protected",
    "a detector failed",
    "a destination was denied",
    "a name pointed where it may not lead",
    "the runner's log was touched",
    "the job laid hands on the guard",
    "something of the shape of a token was sent",
}


def test_a_leak_names_everything_that_matters() -> None:
    (line,) = render(cases.STOPPED)
    for word in ("NPM_TOKEN", "collector.example.test:443", "`curl`", '"Collect metrics"'):
        assert word in line


def test_at_most_ten_errors_and_the_rest_is_counted() -> None:
    flows = tuple(cases.flow(f"h{n}.test:443", denied=True, step=f"S{n}") for n in range(25))
    lines = render(replace(cases.CLEAN_BLOCK, flows=flows))
    assert len(lines) == 10
    assert lines[-1].endswith("And 15 more: the job summary has all of them.")


def test_the_worst_stands_first() -> None:
    found = render(cases.DENIED_MANY)
    assert "attack" in found[0]
    assert "missing line" in found[-1]


def test_one_host_is_one_annotation() -> None:
    flows = tuple(cases.flow("h.test:443", denied=True, step=f"S{n}", count=2) for n in range(3))
    (line,) = render(replace(cases.CLEAN_BLOCK, flows=flows))
    assert "(6 tries)" in line


def test_asked_for_reduced_coverage_is_not_annotated() -> None:
    policy = replace(cases.POLICY, canonical={"on_unsupported": "audit"})
    assert levels(cases.PARTLY) == ["warning"]
    assert levels(replace(cases.PARTLY, policy=policy)) == []


def test_a_secret_without_a_home_is_a_warning_where_nobody_named_the_host() -> None:
    finding = replace(cases.HOMELESS.findings[0], severity=Severity.MEDIUM)
    assert levels(replace(cases.HOMELESS, findings=(finding,))) == ["warning"]
    assert levels(cases.HOMELESS) == []


def test_a_leak_that_only_warns_is_a_warning() -> None:
    findings = (replace(cases.LEAKED.findings[0], failing=False),)
    assert levels(replace(cases.LEAKED, findings=findings, verdict="pass")) == ["warning"]


def test_lost_events_in_audit_are_a_warning() -> None:
    report = replace(cases.CLEAN, coverage=replace(scene.KERNEL, complete=False, lost_events=3))
    assert levels(report) == ["warning"]


def test_a_denial_with_a_secret_is_never_called_a_missing_line() -> None:
    finding = replace(
        cases.HOMELESS.findings[0], destination="uploads.example.test", severity=Severity.MEDIUM
    )
    report = replace(cases.DENIED, findings=(*cases.DENIED.findings, finding))
    (line,) = render(report)
    assert "Treat this as an attack" in line
    assert "DEPLOY_TOKEN was on the program's command line" in line


def test_what_could_not_be_read_is_not_called_a_missing_line() -> None:
    flows = (cases.flow("h.test:443", denied=True, reason=Reason.UNPARSABLE),)
    (line,) = render(replace(cases.CLEAN_BLOCK, flows=flows))
    assert "it could not be read" in line


def test_an_annotation_stands_at_its_step_s_line_of_this_repository() -> None:
    report = cases.CASES["stepwise"]
    places = [
        re.match(r"::error (?:file=(.+?),line=(\d+),)?title", line) for line in render(report)
    ]
    assert [match and match.groups() for match in places[:4]] == [
        (".github/workflows/release.yml", "12"),
        (".github/workflows/release.yml", "14"),
        (None, None),  # no step
        (None, None),  # a workflow of another repository
    ]
