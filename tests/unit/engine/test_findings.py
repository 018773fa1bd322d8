# SPDX-License-Identifier: MIT
"""Detectors that fail, findings that repeat, and floods of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.engine import core
from leakstop.engine.findings import Findings, worst_first
from leakstop.engine.lineage import Step
from leakstop.errors import ExitCode
from leakstop.model.coverage import Loss
from leakstop.model.event import Connect
from leakstop.model.finding import Finding, Severity
from leakstop.model.process import ProcessView
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from story import Ends, Finds, Notes, connects, guarded, loses

META = DetectorMeta("always", "It happened", Severity.LOW, (Connect,), "none", "0.1.0")
CONTEXT = Context(Policy(), Mode.AUDIT, process=ProcessView(9, "/usr/bin/curl", ("x" * 9_000_000,)))
STEP = Step("Test")


class Always(Detector[Connect]):
    """Finds something in every connect; the port is the cause."""

    meta = META

    def on_event(self, event: Connect, context: Context) -> Iterator[Sighting]:
        """Report it."""
        severity = Severity.HIGH if event.port == 443 else Severity.LOW
        finding = Finding(
            META.id, severity, META.title, context.process, "", "", "", "", "", "", event.ts_ns
        )
        yield Sighting((event.port,), finding)


class Broken(Detector[Connect]):
    """Fails on every connect, after it has found something."""

    meta = replace(META, id="broken")

    def __init__(self) -> None:
        self.calls = 0

    def on_event(self, event: Connect, context: Context) -> Iterator[Sighting]:
        """Fail."""
        self.calls += 1
        raise KeyError("text that was observed")
        yield


def show(findings: Findings, *ports: int) -> Findings:
    """Show connects to these ports."""
    for port in ports:
        findings.show(connects(9, "198.51.100.1", port), CONTEXT, STEP)
    return findings


def test_only_what_a_detector_needs_is_shown_to_it() -> None:
    findings = Findings([Always()])
    assert findings.wanted(Connect)
    assert not findings.wanted(Loss)
    findings.show(loses(1), CONTEXT, STEP)
    assert findings.listed() == ()


def test_equal_causes_are_one_finding_of_their_step() -> None:
    first, second = show(Findings([Always()]), 80, 81, 80).listed()
    assert (first.count, first.step, second.count) == (2, "Test", 1)


def test_a_broken_detector_is_reported_and_harms_no_other() -> None:
    broken = Broken()
    findings = show(Findings([broken, Always()]), 80, 80, 80, 80)
    failure, other = findings.listed()
    assert (failure.id, failure.severity, failure.failing) == (
        "detector-error",
        Severity.LOW,
        False,
    )
    assert (failure.count, broken.calls) == (3, 3), "it is switched off after three"
    assert "observed" not in str(failure)
    assert "KeyError" in failure.action_taken
    assert other.count == 4
    assert findings.broken == ("broken",)


def test_a_broken_detector_is_lost_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "DETECTORS", (Broken,))
    note = Notes("The detector `broken` failed")
    for mode, code in ((Mode.AUDIT, ExitCode.CLEAN), (Mode.BLOCK, ExitCode.COVERAGE)):
        guarded(mode=mode).sees(connects(9, "127.0.0.1")).expects(
            Finds("detector-error"), note, Ends(code)
        )


def test_a_flood_of_mild_findings_hides_no_grave_one() -> None:
    findings = show(Findings([Always()]), *range(1000, 2200), 443)
    listed = findings.listed()
    assert (len(listed), findings.unlisted) == (1001, 200)
    assert worst_first(listed)[0].severity is Severity.HIGH


def test_command_lines_are_kept_whole_within_a_budget() -> None:
    first, second = show(Findings([Always()]), 80, 81).listed()
    assert len(first.process.argv[0]) == 9_000_000
    assert (len(second.process.argv[0]), second.process.truncated) == (1024, True)


def test_worst_first_keeps_the_order_of_time() -> None:
    late, early = show(Findings([Always()]), 80, 81).listed()
    late = replace(late, ts_ns=9)
    assert worst_first((late, early)) == (early, late)
