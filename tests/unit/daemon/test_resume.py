# SPDX-License-Identifier: MIT
"""An agent that takes over reads the whole journal, and says meanwhile that it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leakstop.daemon import fold, resume
from leakstop.daemon.assemble import Guard
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifeline import ARMING_S, Estate, Lifeline
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.model.event import Event
from leakstop.model.report import Job
from story import fork, loses, started
from unit.daemon.scene import FakeSensor, make_policy, request

EVENTS = (started(), loses(2), *(fork(pid, 1) for pid in range(100, 117)), loses(3), loses(1, "x"))


class Beating(Lifeline):
    """Counts the signs of life."""

    beats = 0

    def beat(self, patience_s: float = ARMING_S) -> None:
        assert patience_s == ARMING_S
        self.beats += 1


def take_over(tmp_path: Path, *events: Event) -> tuple[Beating, Any, resume.Resumed]:
    """A line, what was inherited, and the guard that goes on."""
    armed: list[Any] = []

    def arm(asked: ArmRequest, directory: Path, *, inherited: Any, **_: Any) -> Guard:
        armed.append(inherited)
        return Guard(asked, FakeSensor(), make_policy(), ())

    journal = Journal.create(tmp_path / "events.ndjson")
    for event in events:
        journal.write(event)
    journal.flush()
    fold.save_state(tmp_path, fold.State(make_policy(), (), Job(), (), tmp_path / "events.ndjson"))
    line = Beating()
    line.estate = Estate(request=request_to_json(request()), number=1, since_ns=7)
    line.beats = 0
    back = resume.resume(line, arm, tmp_path / "guard-1", (tmp_path, journal))
    journal.close()
    back.guard.sensor.close()
    return line, armed[0], back


def test_what_was_lost_is_not_counted_twice(tmp_path: Path) -> None:
    _, inherited, back = take_over(tmp_path, *EVENTS)
    assert inherited.lost == {"events": 5, "x": 1}
    assert inherited.since_ns == 7
    coverage = back.engine.report(final=False).coverage
    assert coverage.lost_events == 6
    assert back.engine.lineage.knows(116)


def test_a_long_journal_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, *_ = take_over(tmp_path, started())
    monkeypatch.setattr(resume, "_AT_A_TIME", 5)
    long, *_ = take_over(tmp_path, *EVENTS)
    assert len(EVENTS) == 21
    assert (short.beats, long.beats) == (2, 2 * 5), "it is read twice"
