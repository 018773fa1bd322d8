# SPDX-License-Identifier: MIT
"""Denials: one for each cause, with the line that would allow it."""

from __future__ import annotations

import pytest

from leakstop.model.flow import Transport
from leakstop.model.verdict import Action, Carriage, Leak, Mode, Reason, Verdict
from story import (
    FORBIDDEN,
    LEAKING,
    NAMED,
    PASSED,
    REFUSED,
    Finds,
    FindsOnly,
    Story,
    asks,
    carrying,
    connects,
    deny,
    guarded,
    spawns,
)

IP = "198.51.100.7"


def job(*rules: object, **policy: object) -> Story:
    """A job in block mode with the policy in a file."""
    made = guarded(*rules, mode=Mode.BLOCK, sources=("ci.yml",), **policy)  # type: ignore[arg-type]
    return made.sees(spawns(20, 1, "gh"))


def advice(told: Story) -> str:
    """What the only finding says to do."""
    (finding,) = told.report.findings
    return finding.what_to_do


def test_a_denied_name() -> None:
    told = job().sees(asks(20, "uploads.test", REFUSED))
    told.expects(
        Finds(
            "denied-flow",
            destination="uploads.test",
            action_taken="The name was not looked up, and nothing was sent.",
            bytes_left=None,
            secret="",
        )
    )
    assert advice(told).startswith(
        "If the job needs it, add under `allow:` in ci.yml: `- uploads.test`."
    )


@pytest.mark.parametrize(
    ("ip", "port", "transport", "line"),
    [
        (IP, 443, Transport.TCP, "`- 198.51.100.7`"),
        ("2001:db8::7", 80, Transport.TCP, '`- "[2001:db8::7]:80"`'),
        (IP, 123, Transport.UDP, "`- udp://198.51.100.7:123`"),
    ],
)
def test_a_denied_address(ip: str, port: int, transport: Transport, line: str) -> None:
    told = job().sees(connects(20, ip, port, REFUSED, transport=transport))
    told.expects(
        Finds("denied-flow", action_taken="Denied before the first byte: nothing was sent.")
    )
    assert line in advice(told)


def test_tries_are_counted_by_program_and_destination() -> None:
    job().sees(
        connects(20, IP, 443, REFUSED),
        connects(20, IP, 443, REFUSED),
        connects(20, IP, 80, REFUSED),
        spawns(21, 1, "node"),
        connects(21, IP, 443, REFUSED),
    ).expects(
        FindsOnly("denied-flow", "denied-flow", "denied-flow"),
        Finds("denied-flow", destination=f"{IP}:443", count=2),
    )


def test_a_deny_rule_is_named_and_not_to_be_widened() -> None:
    told = job(deny("tracker.test")).sees(asks(20, "tracker.test", FORBIDDEN))
    told.expects(Finds("denied-flow", rule="tracker.test (.github/leakstop.yml:5)"))
    assert "narrow that rule" in advice(told)
    assert "allow:" not in advice(told)


def test_a_quiet_denial_asks_for_nothing() -> None:
    told = job(deny("tracker.test", quiet=True)).sees(asks(20, "tracker.test", FORBIDDEN))
    told.expects(Finds("denied-flow", failing=False))
    assert advice(told).startswith("Nothing")


def test_what_could_not_be_read_cannot_be_allowed() -> None:
    unreadable = Verdict(Action.DENY, Action.DENY, Reason.UNPARSABLE)
    told = job().sees(asks(20, "", unreadable))
    assert "no rule can allow it" in advice(told)


def test_a_protocol_that_the_policy_cannot_name() -> None:
    raw = Verdict(Action.DENY, Action.DENY, Reason.PROTOCOL)
    told = job().sees(connects(20, IP, 0, raw, transport=Transport.OTHER, via="socket"))
    assert "no word" in advice(told)


@pytest.mark.parametrize("verdict", [NAMED, PASSED])
def test_what_passed_is_not_reported(verdict: Verdict) -> None:
    job().sees(connects(20, IP, 443, verdict)).expects(FindsOnly())


def test_a_kill_is_reported_once_as_a_leak() -> None:
    job().sees(connects(20, IP, 443, LEAKING, hits=carrying("KEY"))).expects(
        FindsOnly("secret-in-argv")
    )


def test_a_leak_that_was_let_go_but_denied_anyway_is_both() -> None:
    job(leak=Leak.WARN).sees(
        connects(20, IP, 443, REFUSED, hits=carrying("KEY"), carriage=Carriage.FAIL)
    ).expects(FindsOnly("secret-in-argv", "denied-flow"), Finds("secret-in-argv", bytes_left=0))


def test_a_rule_and_the_mode_are_two_causes() -> None:
    job().sees(connects(20, IP, 443, REFUSED), connects(20, IP, 443, FORBIDDEN)).expects(
        FindsOnly("denied-flow", "denied-flow")
    )
