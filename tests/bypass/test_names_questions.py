# SPDX-License-Identifier: MIT
"""T18, T20, T21: a question is more, or something else, than it seems.

Each question is about a name that the policy allows, so only its form can be wrong. In block it
never reaches the name server; in audit it does, and is listed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.guard import DENIED, Guarded
from lab.network import BARE, HOME, RESOLVER

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

CLIENT = Path(__file__).with_name("names.py")
POLICY = "version: 1\nallow: home.test\n"

UNREADABLE = (
    *("two-questions", "no-question", "response", "opcode", "answer-record", "authority-record"),
    *("additional-record", "two-opts", "trailing-bytes", "chaos-class", "compressed"),
)
ODD_TYPES = ("type-NULL", "type-ANY", "type-AXFR", "type-PRIVATE")
ORDINARY = (
    *("plain", "edns", "type-TXT", "type-AAAA", "type-SRV", "type-HTTPS", "type-MX", "type-NS"),
    *("type-PTR", "type-CAA"),
)
UNFRAMED = ("bytes", "split", "length-lies", "no-length")


def ask(*steps: str, resolver: str = RESOLVER) -> list[str]:
    """A command that asks."""
    return [sys.executable, str(CLIENT), resolver, *steps]


def said(run: Guarded) -> list[Any]:
    """What the command got."""
    found: list[Any] = json.loads(run.stdout)
    return found


def reasons(run: Guarded) -> set[tuple[str, str]]:
    """Why questions were denied, and what was done."""
    denied = [event for event in run.events("question") if event["policy"] == "deny"]
    return {(event["reason"], event["applied"]) for event in denied}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_what_is_no_plain_question_is_refused(lab: Lab, leakstop: Guard, transport: str) -> None:
    run = leakstop(
        ask(*(f"{transport}|{case}|home.test" for case in UNREADABLE)), mode="block", policy=POLICY
    )
    assert run.code == DENIED, run.stderr
    assert bytes(lab.dns.wire) == b""
    assert all(isinstance(outcome, str) for outcome in said(run)), said(run)
    assert reasons(run) == {("unparsable", "deny")}
    assert len(run.events("question")) == len(UNREADABLE)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_in_audit_it_passes_and_is_listed(lab: Lab, leakstop: Guard, transport: str) -> None:
    run = leakstop(
        ask(*(f"{transport}|{case}|home.test" for case in UNREADABLE)), mode="audit", policy=POLICY
    )
    assert b"stolen" in bytes(lab.dns.wire)
    assert reasons(run) == {("unparsable", "allow")}
    assert len(run.events("question")) == len(UNREADABLE)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_odd_types_are_refused(lab: Lab, leakstop: Guard, transport: str) -> None:
    steps = [f"{transport}|{case}|home.test" for case in ODD_TYPES]
    run = leakstop(ask(*steps), mode="block", policy=POLICY)
    assert run.code == DENIED
    assert lab.dns.questions == []
    assert reasons(run) == {("protocol", "deny")}
    listed = leakstop(ask(*steps), mode="audit", policy=POLICY)
    assert lab.dns.asked("home.test")
    assert reasons(listed) == {("protocol", "allow")}


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_ordinary_questions_pass(lab: Lab, leakstop: Guard, mode: str, transport: str) -> None:
    run = leakstop(
        ask(*(f"{transport}|{case}|home.test" for case in ORDINARY)), mode=mode, policy=POLICY
    )
    assert said(run)[:2] == [[HOME[0]], [HOME[0]]]
    assert len(lab.dns.questions) == len(ORDINARY)
    assert {question.transport for question in lab.dns.questions} == {transport}
    assert (run.code, run.findings()) == (0, [])


def test_segmentation_offload_hides_no_second_question(lab: Lab, leakstop: Guard) -> None:
    run = leakstop(ask("udp|offload|a-longer-name.home.test"), mode="block", policy=POLICY)
    assert run.code == DENIED
    assert bytes(lab.dns.wire) == b""
    assert reasons(run) == {("unparsable", "deny")}


@pytest.mark.parametrize("case", UNFRAMED)
def test_a_stream_to_the_resolver_holds_whole_questions(
    lab: Lab, leakstop: Guard, case: str
) -> None:
    run = leakstop(ask(f"tcp|{case}|home.test"), mode="block", policy=POLICY)
    assert run.code == DENIED
    assert bytes(lab.dns.wire) == b""
    assert reasons(run) == {("unparsable", "deny")}
    assert said(run)[0] in ("ConnectionAbortedError", "PermissionError", "BrokenPipeError")


@pytest.mark.parametrize("case", ["plain", "pipelined", "twice", "length-alone"])
def test_every_question_of_a_stream_is_judged(lab: Lab, leakstop: Guard, case: str) -> None:
    run = leakstop(ask(f"tcp|{case}|stolen.collector.test"), mode="block", policy=POLICY)
    assert run.code == DENIED
    assert not lab.dns.asked("collector.test")
    assert b"stolen" not in bytes(lab.dns.wire)
    assert said(run)[0] == "ConnectionAbortedError", "the program must not wait"
    denied = [event for event in run.events("question") if event["applied"] == "deny"]
    assert [event["name"] for event in denied] == ["stolen.collector.test"]


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("case", ["plain", "edns", "pipelined", "twice", "length-alone"])
def test_what_a_stream_taught_can_be_reached(
    lab: Lab, leakstop: Guard, mode: str, case: str
) -> None:
    steps = [f"tcp|{case}|home.test", f"connect|{HOME[0]}|443|home.test"]
    run = leakstop(ask(*steps), mode=mode, policy=POLICY)
    assert said(run) == [[HOME[0]], "ok"]
    assert (run.code, run.findings()) == (0, [])


@pytest.mark.parametrize("step", ["udp|plain|home.test", "tcp|plain|home.test"])
def test_other_resolvers_are_refused(lab: Lab, leakstop: Guard, step: str) -> None:
    run = leakstop(ask(step, resolver=BARE), mode="block", policy=POLICY)
    assert run.code == DENIED
    assert said(run) == ["PermissionError"]
    assert lab.collector.connections == []


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_resolver_that_the_policy_declares_is_believed(
    lab: Lab, leakstop: Guard, mode: str
) -> None:
    other = "198.51.100.53"
    lab.serve_names(other)
    policy = f"version: 1\nallow: [home.test, 'udp://{other}:53']\n"
    steps = ["udp|plain|home.test", f"connect|{HOME[0]}|443|home.test"]
    run = leakstop(ask(*steps, resolver=other), mode=mode, policy=policy)
    assert said(run) == [[HOME[0]], "ok"]
    assert (run.code, run.findings()) == (0, [])
