# SPDX-License-Identifier: MIT
"""Journals that were cut, shuffled or made up: a report comes, and no event ends the fold."""

from __future__ import annotations

import contextlib
import io
import json
from random import Random

import story
from fuzz.mutate import bend, bend_json, fuzz
from leakstop.daemon import fold
from leakstop.engine.core import Engine
from leakstop.model.codec import event_from_json, event_to_json, from_json, to_json
from leakstop.model.event import Event, StreamSeen
from leakstop.model.flow import Stream
from leakstop.model.report import Report
from leakstop.model.verdict import Action, Mode, Reason
from leakstop.policy.rules import Policy
from leakstop.report import annotations, json_v1, record, text
from leakstop.report.summary import page

POLICY = Policy(
    mode=Mode.BLOCK, rules=(story.allow("api.example.test"), story.deny("telemetry.test"))
)
EVENTS: list[Event] = [
    story.started(Mode.BLOCK),
    story.running(1, 0, "init"),
    *story.spawns(10, 1, "bash", "bash", "-c", "x"),
    story.step(10, "build"),
    *story.spawns(11, 10, "curl", "curl", "https://api.example.test"),
    story.asks(11, "api.example.test"),
    story.answers("api.example.test", "192.0.2.7", "2001:db8::7"),
    story.connects(11, "192.0.2.7"),
    StreamSeen(
        ts_ns=0,
        pid=11,
        ip="192.0.2.7",
        port=443,
        stream=Stream.TLS,
        name="other.test",
        name_port=443,
        policy=Action.DENY,
        applied=Action.DENY,
        reason=Reason.IDENTITY,
    ),
    story.asks(11, "telemetry.test", story.FORBIDDEN),
    story.connects(11, "203.0.113.9", 8080, story.PASSED),
    story.asks(11, "a.b.test", story.LEAKING, hits=story.carrying("TOKEN"), in_name=True),
    story.connects(11, "203.0.113.8", verdict=story.REFUSED),
    story.loses(3),
    story.exits(11),
    story.finished(),
]
RECORDS = [{**event_to_json(event), "ts_ns": at * 10**6} for at, event in enumerate(EVENTS, 1)]
LINES = [json.dumps(record).encode() + b"\n" for record in RECORDS]
WORDS = [*(bytes((byte,)) for byte in b'\n\0{}",\xff'), b"[" * 2000, b"null", b"\\ud800"]


def fold_and_show(data: bytes) -> Report:
    """The report of a journal; it can be written down, read back and shown."""
    engine = Engine(POLICY, (story.secret("TOKEN"),))
    fold.refeed(io.BytesIO(data), engine)
    report = engine.report()
    assert from_json(Report, json.loads(json.dumps(to_json(report)))) == report
    for form in (annotations, json_v1, page, record, text):
        assert isinstance(form.render(report), str)
    return report


def test_the_journal_itself_is_a_report() -> None:
    report = fold_and_show(b"".join(LINES))
    assert {finding.id for finding in report.findings} >= {"secret-in-dns", "denied-flow"}


def test_bytes_of_anything() -> None:
    whole = b"".join(LINES)
    fuzz("journal bytes", 120, lambda random: fold_and_show(bend(random, [whole], WORDS)))


def test_lines_out_of_order() -> None:
    def take(random: Random) -> None:
        chosen = random.choices(LINES, k=random.randint(0, 40))
        chosen[random.randint(0, len(chosen)) :] = random.sample(LINES, len(LINES))
        fold_and_show(b"".join(chosen))

    fuzz("journal order", 120, take)


def test_records_with_strange_values() -> None:
    def take(random: Random) -> None:
        bent = [bend_json(random, one) if random.random() < 0.2 else one for one in RECORDS]
        fold_and_show(b"".join(json.dumps(one).encode() + b"\n" for one in bent))

    fuzz("journal records", 100, take)


def test_one_record_of_any_kind() -> None:
    def take(random: Random) -> None:
        bent = bend_json(random, random.choice(RECORDS))
        with contextlib.suppress(ValueError):
            if isinstance(bent, dict):
                event = event_from_json(bent)
                assert event_from_json(event_to_json(event)) == event

    fuzz("records", 4_000, take)
