# SPDX-License-Identifier: MIT
"""Which secret is meant, and what became of it, in exact words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.detect.detector import Context
from leakstop.detect.leak import leak_finding, outcome, strays
from leakstop.detect.secret_in_argv import META
from leakstop.model.event import Connect, SecretHit
from leakstop.model.flow import Flow, Transport
from leakstop.model.report import CANARY, SecretView
from leakstop.model.verdict import Carriage, Leak, Mode
from leakstop.policy.rules import Policy
from story import LEAKING, NAMED, PASSED, REFUSED, allow, carrying, connects, home

FLOW = Flow(Transport.TCP, 443, "198.51.100.1", ("registry.test",))
HOMES = {"NPM_TOKEN": home(allow("registry.test")), "KEY": home()}
LOST = "NPM_TOKEN may have left."


VIEW = SecretView("ONE", ("nowhere",), "", "")
HIT = SecretHit("ONE", "raw")


def context(leak: Leak = Leak.KILL) -> Context:
    """A flow to the npm token's home."""
    return Context(Policy(leak=leak, homes=HOMES), Mode.AUDIT, flow=FLOW)


def leaking(*secrets: str) -> Connect:
    """A connect that was stopped because of one of these."""
    return connects(9, "198.51.100.1", 443, LEAKING, hits=carrying(*secrets))


@pytest.mark.parametrize(
    ("carried", "meant"),
    [
        (("NPM_TOKEN", "KEY"), ["KEY"]),
        (("KEY", "OTHER", "KEY"), ["KEY", "OTHER"]),
        (("NPM_TOKEN",), ["NPM_TOKEN"]),
        ((), []),
    ],
)
def test_secrets_that_are_at_home_are_not_blamed(
    carried: tuple[str, ...], meant: list[str]
) -> None:
    assert [hit.secret for hit in strays(leaking(*carried), context())] == meant


@pytest.mark.parametrize(
    ("event", "leak", "action", "bytes_left"),
    [
        (
            leaking("NPM_TOKEN"),
            Leak.KILL,
            "Killed before its first byte: 0 bytes of NPM_TOKEN left.",
            0,
        ),
        (
            connects(9, "198.51.100.1", 443, REFUSED, carriage=Carriage.FAIL),
            Leak.FAIL,
            "Refused before its first byte: 0 bytes of NPM_TOKEN left.",
            0,
        ),
        (
            connects(9, "198.51.100.1", 443, PASSED, carriage=Carriage.FAIL),
            Leak.FAIL,
            f"Not stopped, as `leak: fail` says. {LOST}",
            None,
        ),
        (
            connects(9, "198.51.100.1", 443, PASSED, carriage=Carriage.FAIL),
            Leak.WARN,
            f"Not stopped, as `leak: warn` says. {LOST}",
            None,
        ),
        (
            connects(9, "198.51.100.1", 443, PASSED, carriage=Carriage.KILL),
            Leak.KILL,
            f"Killed, but not stopped: found too late. {LOST}",
            None,
        ),
        (
            connects(9, "198.51.100.1", 443, NAMED, carriage=Carriage.NOTE),
            Leak.KILL,
            f"Not stopped: nobody has said where it belongs. {LOST}",
            None,
        ),
    ],
)
def test_outcome(event: Connect, leak: Leak, action: str, bytes_left: int | None) -> None:
    done = outcome(event, "NPM_TOKEN", context(leak))
    assert (done.action_taken, done.bytes_left) == (action, bytes_left)


def test_a_sensor_that_only_watches_kills_nobody() -> None:
    event = connects(9, "198.51.100.1", 443, PASSED, carriage=Carriage.KILL)
    done = outcome(event, "NPM_TOKEN", replace(context(), watching=True))
    assert done.action_taken == f"Not stopped: this sensor can only watch. {LOST}"


def test_a_canary_is_called_one() -> None:
    planted = replace(VIEW, source=CANARY)
    for view, noun in ((VIEW, "A secret"), (planted, "A canary")):
        known = replace(context(), secrets={view.name: view})
        finding = leak_finding(META, leaking(view.name), known, HIT, what_to_do="")
        assert finding.title == f"{noun} on a command line was on its way out"
