# SPDX-License-Identifier: MIT
"""The flow record: what a replay needs, safe in a log, bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from leakstop.model.report import Report
from leakstop.report import record
from unit.report import cases, golden, hostile


def records(report: Report) -> list[dict[str, Any]]:
    head, *lines, foot = record.render(report).splitlines()
    assert head.startswith("::group::Leakstop flow record")
    assert foot == "::endgroup::"
    return [json.loads(line) for line in lines]


def kinds(report: Report, kind: str) -> list[dict[str, Any]]:
    return [each for each in records(report) if each["kind"] == kind]


@pytest.mark.parametrize("name", ["stopped", "unnamed", "denied-many"])
def test_golden(name: str) -> None:
    golden.check("record", f"{name}.txt", record.render(cases.CASES[name]))


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.parametrize("payload", hostile.PAYLOADS)
def test_every_line_is_json_and_no_command(name: str, payload: str) -> None:
    report = hostile.infect(cases.CASES[name], payload)
    for line in record.render(report).splitlines()[1:-1]:
        assert line.isascii()
        assert "::" not in line
        assert "#" not in line
        assert isinstance(json.loads(line), dict)


def test_it_holds_what_a_replay_needs() -> None:
    (run,) = kinds(cases.DENIED, "run")
    (policy,) = kinds(cases.DENIED, "policy")
    assert run["mode"] == "block"
    assert run["started"] == "2026-11-21T02:00:00.000Z"
    assert policy["digest"] == run["policy"] == cases.POLICY.digest
    assert policy["canonical"] == cases.POLICY.canonical
    flows = kinds(cases.DENIED, "flow")
    assert {flow["host"] for flow in flows} == {flow.host for flow in cases.DENIED.flows}


def test_it_holds_no_argument() -> None:
    marker = "an-argument-nobody-else-has"
    process = replace(cases.CURL, argv=("curl", marker))
    finding = replace(cases.LEAK_FINDING, process=process)
    flows = (cases.flow("a.test:443", process),)
    text = record.render(replace(cases.STOPPED, findings=(finding,), flows=flows))
    assert marker not in text


def test_flows_that_differ_only_by_process_are_one() -> None:
    one = cases.flow("a.test:443", cases.process("/usr/bin/curl", pid=1), count=2)
    two = cases.flow("a.test:443", cases.process("/usr/bin/curl", pid=2), count=3)
    (flow,) = kinds(replace(cases.CLEAN, flows=(one, two)), "flow")
    assert flow["count"] == 5


def test_too_much_is_cut_from_the_end_and_counted() -> None:
    allowed = tuple(cases.flow(f"a{n}.test:443", rule=cases.API) for n in range(3000))
    report = replace(cases.CLEAN, flows=(*allowed, cases.flow("last.test:443", denied=True)))
    text = record.render(report)
    assert len(text.encode()) <= record.MAX_BYTES
    (end,) = kinds(report, "end")
    assert end["cut"] > 0
    assert end["records"] + end["cut"] == 3001
    assert kinds(report, "flow")[0]["host"] == "last.test"


def test_a_long_policy_is_left_out_but_named() -> None:
    policy = replace(cases.POLICY, canonical={"rules": ["x" * record.POLICY_BYTES]})
    (line,) = kinds(replace(cases.CLEAN, policy=policy), "policy")
    assert line == {
        "kind": "policy",
        "digest": cases.POLICY.digest,
        "sources": [".github/leakstop.yml"],
        "cut": True,
    }
