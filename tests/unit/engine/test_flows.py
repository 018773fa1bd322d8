# SPDX-License-Identifier: MIT
"""Counting attempts into records."""

from __future__ import annotations

from dataclasses import replace

from leakstop.engine.flows import Flows
from leakstop.engine.lineage import Step
from leakstop.model.flow import Transport
from leakstop.model.process import ProcessView
from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Action, Reason

STEP = Step("Test")
SEEN = FlowRecord(
    host="a.test",
    ip="198.51.100.1",
    port=443,
    protocol=Transport.TCP,
    process=ProcessView(9, "/usr/bin/curl"),
    step="",
    policy_verdict=Action.DENY,
    applied=Action.ALLOW,
    reason=Reason.NOT_NAMED,
    rule=None,
    count=1,
    first_ns=5,
)
ASKED = replace(SEEN, ip="", port=0, protocol=Transport.DNS)
DENIED = replace(SEEN, applied=Action.DENY)


def flows(*records: FlowRecord, limit: int = 100) -> Flows:
    """A table of one step."""
    made = Flows(limit)
    for record in records:
        made.add(record, STEP)
    return made


def test_the_same_again_is_counted() -> None:
    again = replace(SEEN, ip="198.51.100.2", first_ns=9, process=ProcessView(10, "/usr/bin/curl"))
    assert flows(SEEN, again).listed() == (replace(SEEN, step="Test", count=2),)


def test_each_part_of_the_key_makes_another_record() -> None:
    others = (
        replace(SEEN, host="b.test"),
        replace(SEEN, host=""),
        replace(SEEN, port=80),
        replace(SEEN, protocol=Transport.UDP),
        replace(SEEN, process=ProcessView(9, "/usr/bin/node")),
        replace(SEEN, policy_verdict=Action.ALLOW),
        DENIED,
        replace(SEEN, reason=Reason.DENY_RULE),
    )
    assert len(flows(SEEN, *others).listed()) == len(others) + 1


def test_secrets_are_gathered() -> None:
    one, two = replace(SEEN, secrets=("A",)), replace(SEEN, secrets=("B", "A"))
    assert flows(one, two, one).listed()[0].secrets == ("A", "B")


def test_a_question_that_led_to_a_connection_is_not_listed() -> None:
    assert [flow.protocol for flow in flows(ASKED, SEEN).listed()] == [Transport.TCP]
    assert [flow.protocol for flow in flows(ASKED).listed()] == [Transport.DNS]


def test_a_denied_question_is_always_listed() -> None:
    denied = replace(ASKED, applied=Action.DENY)
    assert len(flows(denied, SEEN).listed()) == 2


def test_the_other_half_of_a_try_is_not_counted() -> None:
    half = replace(ASKED, count=0)
    assert flows(ASKED, half).listed()[0].count == 1
    assert flows(half, half).listed()[0].count == 1


def test_why_something_was_denied_is_remembered_unless_it_is_quiet() -> None:
    assert flows(SEEN).denied == frozenset()
    assert flows(SEEN, DENIED).denied == {Reason.NOT_NAMED}
    assert flows(replace(DENIED, quiet=True)).denied == frozenset()


def test_a_full_table_counts_on_and_forgets_no_denial() -> None:
    table = flows(*(replace(SEEN, port=port) for port in range(1, 4)), DENIED, DENIED, limit=3)
    assert len(table.listed()) == 3
    assert table.unlisted == 2
    assert table.denied == {Reason.NOT_NAMED}
    table.add(replace(SEEN, port=1), STEP)
    assert table.listed()[0].count == 2
