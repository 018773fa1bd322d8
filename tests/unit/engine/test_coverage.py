# SPDX-License-Identifier: MIT
"""The account of what was seen, in sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.engine.coverage import CoverageLog
from leakstop.model.coverage import REFUSALS, Gap, Loss
from leakstop.model.event import Event
from story import Notes, execs, finished, guarded, loses, started

S = 1_000_000_000


def log(*events: Event) -> CoverageLog:
    """An account of these events."""
    made = CoverageLog()
    for event in events:
        made.see(event)
    return made


def test_a_whole_guard_has_nothing_to_say() -> None:
    coverage = log(started(), finished()).summary(agent_died=False)
    assert (coverage.sensor, coverage.complete, coverage.lost_events) == ("kernel", True, 0)
    assert coverage.notes == ()


def test_notes_of_the_sensor_come_first_and_none_twice() -> None:
    made = log(started(notes=("No TLS.", "No UDP.")), loses(1), started(notes=("No UDP.",)))
    made.note("Last.")
    made.note("Last.")
    assert made.summary(agent_died=False, more=("Full.",)).notes == (
        "No TLS.",
        "No UDP.",
        "1 event lost (counter `events`).",
        "Full.",
        "Last.",
    )


def test_losses_are_added_up_by_counter() -> None:
    made = log(started(), loses(2), loses(3), loses(4, "scratch"))
    coverage = made.summary(agent_died=False)
    assert (coverage.lost_events, coverage.complete, made.whole) == (9, False, False)
    assert coverage.notes == (
        "5 events lost (counter `events`).",
        "4 events lost (counter `scratch`).",
    )


def test_a_time_without_agent_is_told() -> None:
    made = log(started(), Gap(5 * S, 2 * S, "the agent was restarted"))
    coverage = made.summary(agent_died=False)
    (note,) = coverage.notes
    assert note.startswith("Nobody watched from ")
    assert note.endswith(" UTC (3.0 s): the agent was restarted.")
    (gap,) = coverage.gaps
    assert gap.until_s - gap.since_s == pytest.approx(3.0)
    assert not coverage.complete
    assert not made.whole


def test_of_many_times_the_last_one_grows() -> None:
    """Who is root can detach programs as often as he likes."""
    made = log(started(), Gap(2 * S, S, "once", undecided=True))
    for second in range(2, 1000):
        made.see(Gap((second + 1) * S, second * S, "again"))
    made.see(Gap(1001 * S, 1000 * S, "off", undecided=True))
    made.see(Gap(1002 * S, 1001 * S, "again"))
    gaps = made.gaps
    assert len(gaps) == 200
    assert (gaps[0].why, gaps[0].undecided, gaps[1].undecided) == ("once", True, False)
    first, last = gaps[0].since_s, gaps[-1]
    assert (last.since_s - first, last.until_s - first) == pytest.approx((199.0, 1001.0))
    assert last.undecided, "in a part of it"


def test_a_dead_agent_is_told() -> None:
    coverage = log(started()).summary(agent_died=True)
    assert coverage.agent_died
    assert not coverage.complete
    assert "The agent ended" in coverage.notes[0]


def test_a_guard_that_begins_again_has_not_finished() -> None:
    made = log(replace(started(), ts_ns=S), finished(), replace(started(), ts_ns=3 * S))
    assert not made.finished
    assert made.first is not None
    assert (made.first.ts_ns, made.last_ns) == (S, 3 * S)
    made.see(finished())
    assert made.finished


def test_unscanned_arguments_are_counted() -> None:
    made = log(started(), execs(9, "sh", unscanned=True), execs(9, "sh", unscanned=True))
    assert "2 programs" in made.summary(agent_died=False).notes[0]
    assert made.whole, "it is a limit, not a loss"


def test_what_was_refused_instead_is_noted_and_not_lost() -> None:
    made = CoverageLog()
    for where in ("answers", "addresses", "addresses", "marks", "events"):
        made.see(Loss(1, where, 1))
    assert made.lost == 1
    notes = " ".join(made.summary(agent_died=False).notes)
    assert "1 DNS answer could not be read" in notes
    assert "2 addresses could not be learned" in notes
    assert "1 process could not be marked" in notes
    assert "1 event lost (counter `events`)" in notes


def test_each_counter_of_what_was_refused_has_its_words() -> None:
    made = log(started(), *(Loss(1, where, 1) for where in REFUSALS))
    notes = made.summary(agent_died=False).notes
    assert len(notes) == len(REFUSALS)
    assert made.whole and not [note for note in notes if "counter" in note]


def test_an_interface_that_is_not_watched_is_no_event() -> None:
    guarded().sees(loses(2, "uplinks")).expects(
        Notes("2 network interfaces could not be watched: what left there without a socket")
    )
