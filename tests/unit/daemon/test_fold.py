# SPDX-License-Identifier: MIT
"""Folding what a dead agent left behind: the same report, and it says that the agent died."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from leakstop.daemon import fold
from leakstop.engine.commands import Command
from leakstop.engine.core import Engine
from leakstop.errors import CoverageError, ExitCode
from leakstop.model.codec import event_to_json
from leakstop.model.event import Event, Exec
from leakstop.model.report import Job
from leakstop.model.verdict import Action, Mode
from story import (
    LEAKING,
    PASSED,
    REFUSED,
    allow,
    answers,
    carrying,
    connects,
    execs,
    finished,
    fork,
    secret,
    started,
)
from unit.daemon.scene import make_policy

POLICY = make_policy(allow("api.example.test"))
SEEN = (
    started(Mode.BLOCK, ts_ns=1_000, policy_digest=POLICY.digest),
    fork(20, 1),
    execs(20, "curl", ts_ns=2_000),
    connects(20, "203.0.113.9", 443, REFUSED, ts_ns=3_000),
)


def state(journal: Path, policy: object = POLICY) -> fold.State:
    return fold.State(
        policy=policy,  # type: ignore[arg-type]
        secrets=(secret("NPM_TOKEN", home=("publish:npm",)),),
        job=Job(name="build"),
        local=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
        journal=journal,
        words='{"indexes":{}}',
    )


def lines(*events: Event) -> bytes:
    return b"".join(json.dumps(event_to_json(event)).encode() + b"\n" for event in events)


def test_an_agent_that_died_leaves_the_same_report_but_for_its_death(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*SEEN))
    folded = fold.fold(state(path))
    assert folded.exit_code is ExitCode.COVERAGE
    assert folded.coverage.agent_died
    assert [flow.destination for flow in folded.flows] == ["203.0.113.9:443"]
    path.write_bytes(lines(*SEEN, dataclasses.replace(finished(), ts_ns=3_000)))
    whole = fold.fold(state(path))
    assert whole.exit_code is ExitCode.DENIED
    assert not whole.coverage.agent_died
    assert whole.flows == folded.flows


@pytest.mark.parametrize("mode", list(Mode))
def test_a_death_is_lost_coverage_in_both_modes(tmp_path: Path, mode: Mode) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(started(mode, policy_digest=POLICY.digest), fork(20, 1)))
    assert fold.fold(state(path)).exit_code is ExitCode.COVERAGE


def test_a_line_cut_short_by_death_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*SEEN) + lines(finished())[:-9])
    folded = fold.fold(state(path))
    assert folded.coverage.agent_died
    assert len(folded.flows) == 1


def test_an_empty_journal_is_lost_coverage(tmp_path: Path) -> None:
    assert fold.fold(state(tmp_path), io.BytesIO(b"")).exit_code is ExitCode.COVERAGE


def test_the_open_file_counts_not_what_stands_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*SEEN))
    with path.open("rb") as file:
        path.unlink()
        path.write_bytes(lines(SEEN[0], finished()))
        assert fold.fold(state(path), file).coverage.agent_died


def test_a_journal_that_is_gone_is_lost_coverage(tmp_path: Path) -> None:
    with pytest.raises(CoverageError, match="journal cannot be read"):
        fold.fold(state(tmp_path / "gone"))


def test_the_last_guard_judges_and_the_first_one_dates(tmp_path: Path) -> None:
    observing = started(Mode.AUDIT, ts_ns=500, policy_digest="sha256:other")
    path = tmp_path / "events.ndjson"
    passed = connects(19, "203.0.113.1", 443, PASSED, ts_ns=700)
    path.write_bytes(lines(observing, passed, *SEEN))
    folded = fold.fold(state(path))
    assert folded.mode is Mode.BLOCK
    assert folded.policy.digest == POLICY.digest
    assert folded.offset_ns == 500
    assert [flow.applied for flow in folded.flows] == [Action.ALLOW, Action.DENY]
    assert sum("another policy was in force" in note for note in folded.coverage.notes) == 1


def test_what_the_first_guard_denied_and_the_last_allows_is_no_contradiction() -> None:
    observing = started(Mode.AUDIT, ts_ns=500, policy_digest="sha256:other")
    named = answers("api.example.test", "203.0.113.1")
    passed = connects(19, "203.0.113.1", 443, PASSED, ts_ns=700)
    engine = Engine(POLICY, ())
    fold.refeed(io.BytesIO(lines(observing, named, passed, *SEEN)), engine)
    notes = engine.report().coverage.notes
    assert not [note for note in notes if "disagree" in note]


def test_only_the_last_guard_commands() -> None:
    """What the one before had to kill it killed; a pid may be somebody else's by now."""
    leak = connects(19, "203.0.113.1", 80, LEAKING, hits=carrying("NPM_TOKEN"), ts_ns=700)
    engine = Engine(POLICY, ())
    assert fold.refeed(io.BytesIO(lines(*SEEN[:3], leak, *SEEN)), engine) == []
    (command,) = fold.refeed(io.BytesIO(lines(*SEEN, SEEN[0], leak)), Engine(POLICY, ()))
    assert command.pid == 19


def test_a_state_survives_its_file(tmp_path: Path) -> None:
    written = state(tmp_path / "events.ndjson")
    fold.save_state(tmp_path, written)
    assert fold.load_state(tmp_path) == written


def test_a_final_report_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*SEEN, finished()))
    report = fold.fold(state(path))
    fold.save_state(tmp_path, replace(state(path), run="this"))
    assert fold.load_final(tmp_path) is None
    fold.save_final(tmp_path, report, "this")
    assert fold.load_final(tmp_path) == report


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A directory with the record of a guard that ended in order."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(lines(*SEEN, finished()))
    fold.save_state(tmp_path, replace(state(path), run="this"))
    fold.save_final(tmp_path, fold.fold(state(path)), "this")
    return tmp_path


def test_the_final_report_of_another_run_is_none(ended: Path) -> None:
    fold.save_final(ended, fold.fold(fold.load_state(ended)), "before")
    assert fold.load_final(ended) is None


@pytest.mark.parametrize("name", ["final.json", "state.json"])
def test_a_link_is_no_record(ended: Path, name: str) -> None:
    (ended / name).rename(ended / "elsewhere")
    (ended / name).symlink_to(ended / "elsewhere")
    assert fold.load_final(ended) is None


@pytest.mark.parametrize("name", ["final.json", "state.json"])
@pytest.mark.root
def test_a_file_of_somebody_else_is_no_record(ended: Path, name: str) -> None:
    os.chown(ended / name, 65534, 65534)
    assert fold.load_final(ended) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"run": "this"}', '{"run": "this", "report": 1}']
)
def test_what_is_no_report_is_none(ended: Path, text: str) -> None:
    (ended / "final.json").write_text(text)
    assert fold.load_final(ended) is None


def test_a_pipe_in_its_place_keeps_nobody_waiting(ended: Path) -> None:
    (ended / "final.json").unlink()
    os.mkfifo(ended / "final.json")
    assert fold.load_final(ended) is None


def test_where_nothing_was_guarded_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(CoverageError, match="no record of a guard"):
        fold.load_state(tmp_path)


def test_notes_are_added_once_asked_for(tmp_path: Path) -> None:
    report = fold.fold(state(tmp_path), io.BytesIO(lines(*SEEN)))
    assert fold.with_notes(report, ()) is report
    assert fold.with_notes(report, ("More.",)).coverage.notes == (*report.coverage.notes, "More.")


def test_a_fault_of_ours_costs_one_event_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = Engine.feed

    def broken(engine: Engine, event: Event) -> list[Command]:
        if isinstance(event, Exec):
            raise KeyError("lost")
        return healthy(engine, event)

    monkeypatch.setattr(Engine, "feed", broken)
    journal = io.BytesIO(lines(*SEEN, dataclasses.replace(finished(), ts_ns=4_000)))
    report = fold.fold(state(tmp_path), journal)
    assert report.coverage.lost_events == 1
    assert report.exit_code is ExitCode.COVERAGE
    assert [flow.ip for flow in report.flows] == ["203.0.113.9"], "what came after it counts"
    assert "Exec was lost" in capsys.readouterr().err
