# SPDX-License-Identifier: MIT
"""A connection and what it shows are one attempt, and what is denied is ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.engine.core import Engine
from leakstop.engine.flows import Flows
from leakstop.engine.lineage import Step
from leakstop.engine.streams import Streams
from leakstop.errors import ExitCode
from leakstop.model.flow import Stream, Transport
from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Action, Mode, Reason, Verdict
from leakstop.policy.rules import Policy
from story import (
    DIGEST,
    LEAKING,
    NAMED,
    PASSED,
    REFUSED,
    UNSHOWN,
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
    journaled,
    shows,
    spawns,
    started,
    story,
)

IP, OTHER_IP = "198.51.100.1", "198.51.100.2"
CURL = 20
POLICY = Policy(mode=Mode.BLOCK, rules=(allow_tls("api.test"),), digest=DIGEST)


def job(mode: Mode = Mode.BLOCK) -> Story:
    """A program that has learned where two names are, of which the policy allows one."""
    return story(Engine(replace(POLICY, mode=mode), ())).sees(
        started(mode),
        spawns(CURL, 1, "curl"),
        asks(CURL, "api.test"),
        answers("api.test", IP),
    )


def destinations(told: Story) -> list[tuple[str, int, Action]]:
    return [(flow.destination, flow.count, flow.applied) for flow in told.report.flows]


def test_what_it_shows_is_allowed_and_counted_once() -> None:
    told = job().sees(connects(CURL, IP), shows(CURL, IP, "api.test", cookie=7))
    told.expects(
        Cuts(),
        FindsOnly(),
        Ends(ExitCode.CLEAN),
        Lists("api.test:443", count=1, stream=Stream.TLS, shown="api.test", over=""),
    )
    assert len(told.report.flows) == 1


def test_another_name_is_one_denied_line() -> None:
    told = job().sees(connects(CURL, IP), shows(CURL, IP, "evil.test", verdict=REFUSED, cookie=7))
    told.expects(
        Cuts(7),
        Kills(),
        FindsOnly("denied-flow"),
        Finds(
            "denied-flow",
            destination="evil.test:443",
            action_taken=(
                "The connection to api.test:443 was cut before its first byte of data was sent."
            ),
        ),
        Lists("evil.test:443", ip=IP, count=1, over="api.test:443", shown="evil.test"),
        Ends(ExitCode.DENIED),
    )
    assert len(told.report.flows) == 1


def test_in_audit_it_is_listed_and_let_go() -> None:
    told = job(Mode.AUDIT).sees(
        connects(CURL, IP), shows(CURL, IP, "evil.test", verdict=PASSED, cookie=7)
    )
    told.expects(Cuts(), FindsOnly(), Ends(ExitCode.CLEAN))
    assert destinations(told) == [("evil.test:443", 1, Action.ALLOW)]


@pytest.mark.parametrize("stream", [Stream.TLS, Stream.HTTP, Stream.HIDDEN, Stream.OTHER])
def test_without_a_name_it_is_the_one_that_led_there(stream: Stream) -> None:
    told = job().sees(connects(CURL, IP), shows(CURL, IP, stream=stream, verdict=UNSHOWN, cookie=7))
    told.expects(
        Cuts(7),
        Lists("api.test:443", count=1, stream=stream, reason=Reason.IDENTITY, over=""),
        Ends(ExitCode.DENIED),
    )
    assert len(told.report.flows) == 1


def test_the_plain_name_beside_a_hidden_one_means_nothing() -> None:
    job().sees(
        connects(CURL, IP),
        shows(CURL, IP, "cover.test", stream=Stream.HIDDEN, verdict=UNSHOWN, cookie=7),
    ).expects(Lists("api.test:443", shown="cover.test", over=""))


def test_several_in_flight() -> None:
    """Five connections between the same two, of which two turn out to be for somebody else."""
    told = job().sees(*(connects(CURL, IP) for _ in range(5)))
    for cookie, name in enumerate(("api.test", "evil.test", "api.test", "evil.test"), 1):
        verdict = NAMED if name == "api.test" else REFUSED
        told.sees(shows(CURL, IP, name, verdict=verdict, cookie=cookie))
    assert destinations(told) == [
        ("api.test:443", 3, Action.ALLOW),
        ("evil.test:443", 2, Action.DENY),
    ]


def test_others_of_the_same_address_are_left_alone() -> None:
    told = job().sees(
        spawns(30, 1, "curl"),
        connects(CURL, IP),
        connects(30, IP),
        connects(CURL, IP, 8443, REFUSED),
        shows(30, IP, "evil.test", verdict=REFUSED, cookie=7),
    )
    assert destinations(told) == [
        ("api.test:443", 1, Action.ALLOW),
        ("api.test:8443", 1, Action.DENY),
        ("evil.test:443", 1, Action.DENY),
    ]


def test_a_second_request_on_a_connection() -> None:
    """The same again is no second try; another host is one, and the first stays."""
    http = {"stream": Stream.HTTP, "cookie": 7}
    told = job(Mode.AUDIT).sees(
        connects(CURL, IP, 80, PASSED),
        connects(CURL, IP, 80, PASSED),
        shows(CURL, IP, "api.test", 80, PASSED, **http),
        shows(CURL, IP, "api.test", 80, PASSED, **http),
        shows(CURL, IP, "evil.test", 80, PASSED, **http),
    )
    assert destinations(told) == [
        ("api.test:80", 2, Action.ALLOW),
        ("evil.test:80", 1, Action.ALLOW),
    ]


def test_what_a_proxy_is_asked_for() -> None:
    """The authority is the destination; the proxy is where the connection goes."""
    told = guarded(allow_tls("api.test"), allow_tls("proxy.test", 3128), mode=Mode.BLOCK).sees(
        spawns(CURL, 1, "curl"),
        answers("proxy.test", IP),
        connects(CURL, IP, 3128),
        shows(CURL, IP, "api.test", 3128, stream=Stream.HTTP, name_port=443, cookie=7),
        shows(CURL, IP, "api.test", 3128, stream=Stream.TLS, name_port=443, cookie=7),
        connects(CURL, IP, 3128),
        shows(CURL, IP, "evil.test", 3128, REFUSED, stream=Stream.HTTP, name_port=443, cookie=8),
    )
    told.expects(
        Cuts(8),
        Lists("api.test:443", count=1, over="proxy.test:3128", applied=Action.ALLOW),
        Lists("evil.test:443", count=1, over="proxy.test:3128", applied=Action.DENY),
    )
    assert len(told.report.flows) == 2
    assert not told.report.coverage.notes


def test_kernel_and_reference_agree_on_streams() -> None:
    """And where they do not, it is said."""
    told = job().sees(
        connects(CURL, IP),
        shows(CURL, IP, "api.test"),
        shows(CURL, IP, verdict=UNSHOWN),
        shows(CURL, IP, "evil.test", verdict=REFUSED),
        shows(CURL, IP, "api.test", stream=Stream.HTTP, verdict=UNSHOWN),
    )
    assert not told.report.coverage.notes
    (note,) = told.sees(shows(CURL, IP, "evil.test")).report.coverage.notes
    assert f"disagree on {IP} tcp 443 showing evil.test" in note


def test_a_leak_is_killed_and_its_connection_ended() -> None:
    hits = carrying("NPM_TOKEN")
    told = job().sees(
        connects(CURL, IP, hits=hits),
        shows(CURL, IP, "evil.test", verdict=LEAKING, hits=hits, cookie=7),
    )
    told.expects(
        Kills(CURL),
        Cuts(7),
        FindsOnly("secret-in-argv"),
        Finds("secret-in-argv", destination="evil.test:443", secret="NPM_TOKEN", bytes_left=0),
        Ends(ExitCode.FINDINGS),
    )


@pytest.mark.parametrize("via", ["accept", "older", "connect"])
def test_a_connection_that_is_there_is_ended(via: str) -> None:
    """Not the one that was refused when it was made: there is none."""
    job().sees(connects(CURL, OTHER_IP, 443, REFUSED, via=via, cookie=7)).expects(Cuts(7))
    job().sees(connects(CURL, OTHER_IP, 443, REFUSED)).expects(Cuts())
    job().sees(asks(CURL, "evil.test", REFUSED, cookie=9)).expects(Cuts(9))
    job(Mode.AUDIT).sees(connects(CURL, OTHER_IP, 443, PASSED, cookie=7)).expects(Cuts())


def test_who_only_watches_ends_nothing() -> None:
    told = story(job().engine).sees(started(Mode.AUDIT, sensor="portable"))
    told.sees(shows(CURL, IP, "evil.test", verdict=REFUSED, cookie=7)).expects(Cuts())


def test_the_journal_tells_the_same() -> None:
    told = job().sees(
        connects(CURL, IP),
        shows(CURL, IP, "evil.test", verdict=REFUSED, cookie=2**63 + 5),
    )
    again = story(Engine(POLICY, ())).sees(*journaled(told.events))
    assert again.report == told.report


SEEN = FlowRecord(
    host="a.test",
    ip=IP,
    port=443,
    protocol=Transport.TCP,
    process=job().engine._lineage.view(CURL),
    step="",
    policy_verdict=Action.ALLOW,
    applied=Action.ALLOW,
    reason=Reason.ALLOW_RULE,
    rule=None,
    count=1,
    first_ns=5,
)


def test_connections_that_never_show_anything_are_forgotten() -> None:
    flows = Flows()
    streams = Streams(flows, limit=2)
    for ip in (IP, OTHER_IP, "198.51.100.3"):
        streams.connected(connects(CURL, ip), replace(SEEN, ip=ip, host=""), Step())
    for cookie in range(1, 9):
        streams.showed(
            shows(CURL, IP, "b.test", cookie=cookie), replace(SEEN, host="b.test"), Step()
        )
    assert len(streams._shown) == 2
    assert streams._silent_count == 2
    assert {record.ip for record in flows.listed()} >= {IP, OTHER_IP}


@pytest.mark.parametrize("reason", [Reason.LOCAL, Reason.RESOLVER])
def test_what_stays_here_shows_nothing(reason: Reason) -> None:
    streams = Streams(Flows())
    verdict = Verdict(Action.ALLOW, Action.ALLOW, reason)
    streams.connected(connects(CURL, IP, 443, verdict), SEEN, Step())
    streams.connected(connects(CURL, IP, 443, REFUSED), replace(SEEN, applied=Action.DENY), Step())
    streams.connected(connects(CURL, IP, 443, transport=Transport.UDP), SEEN, Step())
    assert streams._silent_count == 0
