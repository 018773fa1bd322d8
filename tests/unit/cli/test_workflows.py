# SPDX-License-Identifier: MIT
"""Is the guard where it can guard?"""

from __future__ import annotations

from pathlib import Path

import pytest

from leakstop.cli.workflows import find_workflows, inspect

GUARD = "      - uses: OWNER/leakstop@v1\n"
CHECKOUT = "      - uses: actions/checkout@v6\n"
RUN = "      - run: make\n"


def job(name: str, *steps: str) -> str:
    return f"  {name}:\n    runs-on: ubuntu-latest\n    steps:\n{''.join(steps)}"


def workflow(*jobs: str) -> str:
    return f"on: push\njobs:\n{''.join(jobs)}"


def remarks(text: str, **options: list[str]) -> list[tuple[int, bool, str]]:
    found = inspect("ci.yml", text, **options)
    return [(remark.line, remark.grave, remark.what) for remark in found]


def test_a_guard_in_its_place_needs_no_remark() -> None:
    assert remarks(workflow(job("build", GUARD, CHECKOUT, RUN))) == []


def test_what_runs_before_the_guard_is_not_guarded() -> None:
    ((line, grave, what),) = remarks(workflow(job("build", CHECKOUT, RUN, GUARD)))
    assert (line, grave) == (8, True)
    assert what.startswith("the guard is step 3 of job `build`")


@pytest.mark.parametrize(
    ("written", "remarked"), [("true", True), ("${{ inputs.x }}", True), ("false", False)]
)
def test_a_guard_whose_failure_is_forgiven(written: str, remarked: bool) -> None:
    step = f"{GUARD}        continue-on-error: {written}\n"
    found = remarks(workflow(job("build", step, RUN)))
    assert [(line, grave) for line, grave, _ in found] == ([(7, True)] if remarked else [])
    assert not found or "continue-on-error" in found[0][2]


def test_a_guard_with_a_condition() -> None:
    step = f"{GUARD}        if: github.ref == 'refs/heads/main'\n"
    ((line, grave, what),) = remarks(workflow(job("build", step, RUN)))
    assert (line, grave) == (7, True)
    assert what.startswith("`if` on the guard")


def test_other_jobs_without_a_guard_are_warned_of() -> None:
    called = "  call:\n    uses: ./.github/workflows/other.yml\n"
    text = workflow(job("build", GUARD, RUN), job("publish", CHECKOUT, RUN), called)
    assert remarks(text) == [(8, False, "job `publish` has no guard")]


def test_a_repository_without_a_guard_is_left_in_peace() -> None:
    assert remarks(workflow(job("build", CHECKOUT), job("docs", RUN))) == []


@pytest.mark.parametrize(
    ("uses", "is_guard"),
    [
        ("OWNER/leakstop@v1", True),
        ("OWNER/leakstop@3f2a00c1 # v1.2.0", True),
        ("OWNER/leakstop/agent/hook@v1", True),
        ("OWNER/leakstop", False),
        ("OWNER/leakstop-demo@v1", False),
        ("leakstop/other@v1", False),
        ("docker://OWNER/leakstop@v1", False),
    ],
)
def test_which_step_is_the_guard(uses: str, is_guard: bool) -> None:
    text = workflow(job("build", RUN, f"      - uses: {uses}\n"))
    assert bool(remarks(text)) is is_guard


def test_a_wrapper_is_a_guard_when_it_is_named() -> None:
    text = workflow(job("build", RUN, "      - uses: acme/guard@v1\n"))
    assert remarks(text) == []
    ((_, grave, _),) = remarks(text, guards=["acme/guard"])
    assert grave


@pytest.mark.parametrize(
    "text",
    ["", "a", "- 1\n", "jobs: 5\n", "jobs:\n  a: 1\n", "jobs:\n  a:\n    steps: 1\n", "on:\n"],
)
def test_what_is_no_workflow_has_no_jobs(text: str) -> None:
    assert remarks(text) == []


def test_no_yaml_is_said_with_its_line() -> None:
    assert remarks("on: push\njobs: [\n") == [(3, True, "this is no YAML")]


def test_a_step_may_be_anything() -> None:
    odd = "      - just text\n      - [a, list]\n      - uses: [x]\n"
    assert remarks(workflow(job("build", GUARD, odd))) == []


def test_anchors_are_followed() -> None:
    text = (
        "on: push\njobs:\n  a:\n    steps: &steps\n      - run: x\n      - uses: o/leakstop@v1\n"
        "  b:\n    steps: *steps\n"
    )
    assert [grave for _, grave, _ in remarks(text)] == [True, True]


def test_nothing_in_a_name_steers_the_terminal() -> None:
    ((remark),) = inspect(
        "a\x1b[2J.yml", workflow(job('"\\e[31m"', GUARD.replace("-", "- run: x\n      -", 1)))
    )
    assert "\x1b" not in str(remark)
    assert str(remark).count("\n") == 1


def test_workflows_are_found_from_below(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    for name in ("b.yml", "a.yaml", "c.txt"):
        (folder / name).write_text("")
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    assert [file.name for file in find_workflows(below)] == ["a.yaml", "b.yml"]


def test_the_search_ends_at_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "a.yml").write_text("")
    inner = tmp_path / "inner"
    (inner / ".git").mkdir(parents=True)
    assert find_workflows(inner) == ()
