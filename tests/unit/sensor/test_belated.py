# SPDX-License-Identifier: MIT
"""What a program did before the kernel knew what it carries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.model.event import Event, Exit, Fork, SecretFound, SecretHit
from leakstop.model.verdict import Action, Carriage, Leak, Mode, Reason, Verdict
from leakstop.policy.rules import Policy
from leakstop.sensor.belated import Belated
from plans import plan_of
from story import NAMED, PASSED, REFUSED, allow_tls, answers, asks, connects, home, shows

PID, HOME_IP, OTHER_IP = 100, "198.51.100.10", "203.0.113.9"
HIT = SecretHit("FOUND", "raw")
POLICY = Policy(
    rules=(allow_tls("named.test"),),
    homes={"PLACED": home(allow_tls("home.test"))},
)
PLACED = SecretFound(0, "FOUND", "environment of sh", "", "0", ("home.test",), "policy")
GUESSED = SecretFound(0, "FOUND", "environment of sh", "", "0", guessed=True)
TO_RESOLVER = Verdict(Action.ALLOW, Action.ALLOW, Reason.RESOLVER)


def belated(found: SecretFound = PLACED, policy: Policy = POLICY) -> Belated:
    made = Belated(plan_of(policy))
    made.see(answers("home.test", HOME_IP))
    made.see(answers("named.test", OTHER_IP))
    made.see(found)
    made.carries(PID, (HIT,))
    return made


@pytest.mark.parametrize(
    "event",
    [
        connects(PID, OTHER_IP),
        connects(PID, "203.0.113.77", 80, PASSED),
        asks(PID, "named.test"),
        shows(PID, OTHER_IP, "named.test"),
        shows(PID, HOME_IP, "named.test"),
        connects(PID, OTHER_IP, verdict=REFUSED),
    ],
)
def test_on_the_way_to_a_wrong_place_it_is_a_leak(event: Event) -> None:
    judged = belated().judge(event)
    assert judged == replace(event, carriage=Carriage.KILL, hits=(HIT,))  # type: ignore[type-var]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(connects(PID, HOME_IP), id="home"),
        pytest.param(shows(PID, HOME_IP, "home.test"), id="home by name"),
        pytest.param(asks(PID, "home.test"), id="the question for home"),
        pytest.param(connects(PID, "192.0.2.53", 53, TO_RESOLVER), id="resolver"),
        pytest.param(connects(PID, OTHER_IP, via="accept"), id="a peer's connection"),
        pytest.param(connects(PID + 1, OTHER_IP), id="another process"),
        pytest.param(
            connects(PID, OTHER_IP, hits=(HIT,), carriage=Carriage.NOTE), id="the kernel knew"
        ),
    ],
)
def test_what_else_happened_stays_as_it_was(event: Event) -> None:
    assert belated().judge(event) is event


def test_a_guess_at_a_named_host_is_a_note() -> None:
    judged = belated(GUESSED, replace(POLICY, mode=Mode.BLOCK)).judge(connects(PID, OTHER_IP))
    assert judged == connects(PID, OTHER_IP, carriage=Carriage.NOTE, hits=(HIT,))


def test_where_nothing_is_killed_for_a_leak_it_fails() -> None:
    judged = belated(policy=replace(POLICY, leak=Leak.FAIL)).judge(connects(PID, OTHER_IP))
    assert judged == connects(PID, OTHER_IP, carriage=Carriage.FAIL, hits=(HIT,))


def test_what_the_kernel_said_is_kept() -> None:
    other = SecretHit("DECLARED", "raw")
    event = connects(PID, OTHER_IP, carriage=Carriage.NOTE, hits=(other,))
    judged = belated().judge(event)
    assert judged == replace(event, carriage=Carriage.KILL, hits=(other, HIT))


def test_a_fork_carries_the_same_until_it_is_another_program() -> None:
    known = belated()
    event = connects(PID + 1, OTHER_IP, verdict=NAMED)
    known.see(Fork(0, PID + 1, PID))
    assert known.judge(event) != event
    known.carries(PID + 1, ())
    assert known.judge(event) is event


def test_a_number_that_is_used_again_carries_nothing() -> None:
    known = belated()
    known.see(Exit(0, PID, 0))
    event = connects(PID, OTHER_IP)
    assert known.judge(event) is event
