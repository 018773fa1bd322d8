# SPDX-License-Identifier: MIT
"""What a process sends on a connection that was made before."""

from __future__ import annotations

import pytest

from leakstop.errors import ExitCode
from leakstop.model.channel import Channel, Tie
from leakstop.model.finding import Severity
from leakstop.model.flow import Transport
from leakstop.model.verdict import Action, Carriage, Leak, Mode, Reason
from story import (
    LEAKING,
    LEAKING_NAMED,
    NAMED,
    PASSED,
    Cuts,
    Ends,
    Finds,
    FindsOnly,
    Kills,
    Lists,
    Story,
    allow_tls,
    answers,
    asks,
    carrying,
    connects,
    guarded,
    home,
    journaled,
    secret,
    shows,
    spawns,
    started,
    writes,
)

IP = "198.51.100.7"
HITS = carrying("NPM_TOKEN")


def job(**policy: object) -> Story:
    """curl is connected to api.test, which a rule names, and has a token that belongs elsewhere."""
    return guarded(
        allow_tls("api.test"),
        homes={"NPM_TOKEN": home(allow_tls("publish.test"))},
        secrets=[secret("NPM_TOKEN", size=40)],
        **policy,  # type: ignore[arg-type]
    ).sees(spawns(20, 1, "curl"), asks(20, "api.test"), answers("api.test", IP), connects(20, IP))


def test_what_was_stopped_is_no_further_try() -> None:
    job().sees(writes(20, IP, "api.test", verdict=LEAKING_NAMED, hits=HITS, cookie=7)).expects(
        Kills(20),
        Cuts(7),
        Finds("secret-in-tls", destination="api.test:443", bytes_left=0, size=40),
        Lists("api.test:443", count=1, secrets=(), stopped=("NPM_TOKEN",), applied=Action.ALLOW),
        Ends(ExitCode.FINDINGS),
    )


def test_who_was_killed_in_the_kernel_is_not_killed_again() -> None:
    event = writes(20, IP, "api.test", verdict=LEAKING_NAMED, hits=HITS, killed=True)
    job().sees(event).expects(Kills(), Finds("secret-in-tls"))


def test_what_is_found_late_left_and_its_process_is_killed() -> None:
    event = writes(
        20,
        IP,
        "api.test",
        hits=HITS,
        carriage=Carriage.KILL,
        late=True,
        cookie=7,
        reason=Reason.LEAK,
    )
    told = (
        job()
        .sees(event)
        .expects(
            Kills(20),
            Cuts(7),
            Finds("secret-in-tls", bytes_left=None, size=40),
            Lists("api.test:443", count=1, secrets=("NPM_TOKEN",), stopped=()),
            Ends(ExitCode.FINDINGS),
        )
    )
    assert told.report.findings[0].action_taken == (
        "Killed, but found only in a copy of what had been sent. "
        "Up to 40 of 40 bytes of NPM_TOKEN left."
    )


def test_what_a_program_carried_before_it_was_known_is_a_leak_too() -> None:
    told = job().sees(connects(20, IP, hits=HITS, carriage=Carriage.KILL))
    told.expects(
        Kills(20), Finds("secret-in-argv", bytes_left=None, failing=True), Ends(ExitCode.FINDINGS)
    )
    assert told.report.findings[0].action_taken == (
        "Killed, but not stopped: found too late. Up to 40 of 40 bytes of NPM_TOKEN left."
    )


@pytest.mark.parametrize(
    ("leak", "code"), [(Leak.FAIL, ExitCode.FINDINGS), (Leak.WARN, ExitCode.CLEAN)]
)
def test_what_is_let_go_is_noted_on_the_connection(leak: Leak, code: ExitCode) -> None:
    event = writes(20, IP, "api.test", verdict=NAMED, hits=HITS, carriage=Carriage.FAIL)
    told = job(leak=leak).sees(event)
    told.expects(Kills(), Lists("api.test:443", secrets=("NPM_TOKEN",)), Ends(code))
    assert f"`leak: {leak.value}`" in told.report.findings[0].action_taken
    assert "Up to 40 of 40 bytes" in told.report.findings[0].action_taken


def test_the_connection_is_known_by_its_socket_once_it_has_shown_itself() -> None:
    told = job().sees(
        connects(20, "203.0.113.9", verdict=PASSED),
        shows(20, "203.0.113.9", "x.test", verdict=PASSED, cookie=7),
        writes(20, "203.0.113.9", "x.test", verdict=LEAKING, hits=HITS, cookie=7),
    )
    told.expects(Lists("x.test:443", count=1, stopped=("NPM_TOKEN",)))
    assert len(told.report.flows) == 2


def test_a_datagram_and_a_forgotten_connection_are_found_by_what_they_are() -> None:
    told = job().sees(
        connects(20, "203.0.113.9", 9, PASSED, transport=Transport.UDP),
        writes(
            20,
            "203.0.113.9",
            port=9,
            verdict=LEAKING,
            hits=HITS,
            channel=Channel.UDP,
            transport=Transport.UDP,
            tie=Tie.SOCKET,
        ),
    )
    told.expects(Lists("203.0.113.9:9", count=1, stopped=("NPM_TOKEN",)))


def test_a_connection_that_nobody_saw_begin_gets_a_line() -> None:
    told = job().sees(writes(20, "203.0.113.9", verdict=LEAKING, hits=HITS))
    told.expects(Lists("203.0.113.9:443", count=1, reason=Reason.LEAK, stopped=("NPM_TOKEN",)))


@pytest.mark.parametrize(("late", "severity"), [(False, Severity.MEDIUM), (True, Severity.INFO)])
def test_without_a_connection_nothing_is_listed_but_the_finding(
    late: bool, severity: Severity
) -> None:
    told = job().sees(writes(20, "", port=0, hits=HITS, tie=Tie.NONE, late=late))
    told.expects(
        Finds(
            "secret-in-tls",
            destination="no connection that is known",
            severity=severity,
            failing=False,
        ),
        Ends(ExitCode.CLEAN),
    )
    assert len(told.report.flows) == 1


def test_a_write_contradicts_nothing() -> None:
    told = job(mode=Mode.BLOCK).sees(
        writes(20, "203.0.113.9", "x.test", verdict=LEAKING_NAMED, hits=HITS)
    )
    assert told.report.coverage.notes == ()


def test_a_sensor_that_only_watches_stops_nothing() -> None:
    told = job().sees(started(sensor="portable"))
    told.sees(writes(20, IP, "api.test", hits=HITS, carriage=Carriage.KILL, late=True, cookie=7))
    told.expects(Kills(), Cuts())


def test_its_journal_tells_the_same() -> None:
    told = job().sees(writes(20, IP, "api.test", verdict=LEAKING_NAMED, hits=HITS))
    again = job()
    for event in journaled(told.events[len(again.events) :]):
        again.engine.feed(event)
    assert again.report == told.report


def test_two_leaks_are_two_findings() -> None:
    job().sees(
        writes(20, IP, "api.test", verdict=LEAKING_NAMED, hits=HITS),
        writes(20, IP, verdict=LEAKING_NAMED, hits=HITS, channel=Channel.TCP, tie=Tie.SOCKET),
    ).expects(FindsOnly("secret-in-tls", "secret-in-payload"))
