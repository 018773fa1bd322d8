# SPDX-License-Identifier: MIT
"""Denials: one for each cause, with the line that would allow it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.errors import ExitCode
from leakstop.model.finding import Severity
from leakstop.model.flow import Stream, Transport
from leakstop.model.verdict import Action, Carriage, Leak, Mode, Reason, Verdict
from leakstop.policy.rules import NamePlace, Protocol, Reach, Rule
from leakstop.policy.scopes import Scope
from story import (
    FORBIDDEN,
    LEAKING,
    NAMED,
    PASSED,
    REFUSED,
    UNSHOWN,
    Ends,
    Finds,
    FindsOnly,
    Lists,
    Story,
    allow,
    allow_tls,
    answers,
    asks,
    carrying,
    connects,
    deny,
    guarded,
    running,
    shows,
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


def scoped(rule: Rule, **scope: tuple[str, ...]) -> Rule:
    return replace(rule, scope=Scope(**scope))  # type: ignore[arg-type]


def test_what_is_allowed_to_another_step_says_to_which() -> None:
    told = job(scoped(allow_tls("uploads.test"), step=("Publish",))).sees(
        asks(20, "uploads.test", REFUSED)
    )
    told.expects(
        FindsOnly("denied-flow"),
        Lists("uploads.test", only_for="step `Publish` (.github/leakstop.yml:5)"),
    )
    assert advice(told) == (
        "The policy allows it only for step `Publish` (.github/leakstop.yml:5). If this is "
        "somebody who needs it too, name them in that rule. If you do not expect it, treat it as "
        "an attack until shown otherwise."
    )


def test_docker_that_a_step_asked_for_something_gets_a_rule_of_its_own() -> None:
    rule = scoped(allow_tls("cr.test"), step=("docker/build-push-action",))
    told = job(rule).sees(spawns(21, 1, "/usr/bin/dockerd"), asks(21, "cr.test", REFUSED))
    assert "Docker's daemon belongs to no step that asks it for something." in advice(told)
    assert "`- {host: cr.test, process: /usr/bin/dockerd}`" in advice(told)


def test_what_a_rule_for_others_does_not_name_is_not_named() -> None:
    told = job(scoped(allow_tls("uploads.test"), step=("Publish",))).sees(
        answers("uploads.test", IP), connects(20, IP, 80, REFUSED)
    )
    told.expects(Lists("uploads.test:80", only_for=""))


def test_a_quiet_denial_asks_for_nothing() -> None:
    told = job(deny("tracker.test", quiet=True)).sees(asks(20, "tracker.test", FORBIDDEN))
    told.expects(Finds("denied-flow", failing=False))
    assert advice(told).startswith("Nothing")


def test_who_answers_as_the_resolver_is_no_destination_to_allow() -> None:
    verdict = Verdict(Action.DENY, Action.DENY, Reason.RESOLVER)
    told = job().sees(connects(20, "127.0.0.1", 40000, verdict, transport=Transport.UDP))
    told.expects(Finds("denied-flow", failing=True))
    assert "in the name of the machine's resolver" in advice(told)
    assert "40000" not in advice(told)


def test_what_could_not_be_read_cannot_be_allowed() -> None:
    unreadable = Verdict(Action.DENY, Action.DENY, Reason.UNPARSABLE)
    told = job().sees(asks(20, "", unreadable))
    assert "no rule can allow it" in advice(told)


@pytest.mark.parametrize(
    ("stream", "name", "port", "why", "line"),
    [
        (Stream.TLS, "", 443, "it is TLS that shows no name", "tcp://api.test:443"),
        (Stream.HIDDEN, "x.test", 443, "it hides its name (ECH)", "tcp://api.test:443"),
        (Stream.OTHER, "", 443, "it is neither TLS nor HTTP", "tcp://api.test:443"),
        (Stream.HTTP, "", 80, "it is plain HTTP that shows no name", "tcp://api.test:80"),
        (Stream.HTTP, "api.test", 443, "it is plain HTTP to that name", "http://api.test:443"),
        (Stream.TLS, "api.test", 80, "it is TLS to that name", "https://api.test:80"),
    ],
)
def test_a_stream_that_does_not_show_what_a_rule_asks_for(
    stream: Stream, name: str, port: int, why: str, line: str
) -> None:
    protocol = Protocol.TLS if port == 443 else Protocol.HTTP
    told = job(replace(allow("api.test", port), protocol=protocol)).sees(
        answers("api.test", IP),
        connects(20, IP, port),
        shows(20, IP, name, port, UNSHOWN, stream=stream),
    )
    told.expects(Finds("denied-flow", destination=f"api.test:{port}"), FindsOnly("denied-flow"))
    assert f"but {why}." in advice(told)
    assert f"add under `allow:` in ci.yml: `- {line}`." in advice(told)
    assert ("trusted by its address alone" in advice(told)) is line.startswith("tcp")
    assert not told.report.coverage.notes


def test_another_name_needs_a_line_of_its_own() -> None:
    told = job(allow_tls("api.test")).sees(
        answers("api.test", IP), connects(20, IP), shows(20, IP, "evil.test", verdict=REFUSED)
    )
    assert "`- evil.test`. If you do not expect it, treat it as an attack" in advice(told)


@pytest.mark.parametrize(
    ("stream", "cut"),
    [
        (Stream.TLS, "before its first byte of data"),
        (Stream.HTTP, "before this request"),
        (Stream.OTHER, "before anything more"),
    ],
)
def test_what_a_cut_connection_had_not_sent(stream: Stream, cut: str) -> None:
    told = job().sees(shows(20, IP, "evil.test", verdict=REFUSED, stream=stream))
    (finding,) = told.report.findings
    assert finding.action_taken == f"The connection to {IP}:443 was cut {cut} was sent."


@pytest.mark.parametrize(
    ("via", "done"),
    [
        ("accept", "An answer to a connection that came in"),
        ("older", "A connection from before the guard"),
        ("link", "A packet that went past the sockets"),
    ],
)
def test_what_is_no_connection_of_its_own(via: str, done: str) -> None:
    told = job().sees(connects(20, IP, 443, REFUSED, via=via), connects(20, IP, 443, REFUSED))
    (finding,) = told.report.findings
    assert finding.action_taken.startswith(done)
    told.expects(Lists(f"{IP}:443", origin=via), Lists(f"{IP}:443", origin=""))


@pytest.mark.parametrize(
    ("names", "limit"), [(0, "50 names, or 4,100 bytes of"), (1000, "1,000 names, or 82,000 bytes")]
)
def test_too_many_names_below_a_wildcard(names: int, limit: str) -> None:
    below = replace(allow_tls("x"), place=NamePlace("store.test", Reach.ONE), names=names)
    below = replace(below, ref=replace(below.ref, text="*.store.test"))
    spent = Verdict(Action.DENY, Action.DENY, Reason.BUDGET)
    told = job(below).sees(asks(20, "a1b2c3.store.test", spent))
    told.expects(Finds("denied-flow", rule="*.store.test (.github/leakstop.yml:5)"))
    assert advice(told).startswith(f"More than {limit}")
    assert "asked for below `*.store.test`" in advice(told)
    assert "raise `names:` on that rule" in advice(told)
    assert not told.report.coverage.notes


@pytest.mark.parametrize(
    ("reason", "transport", "what", "why"),
    [
        (Reason.PROTOCOL, Transport.OTHER, "a socket for another protocol", "could not be judged"),
        (Reason.PROTOCOL, Transport.TCP, "a raw socket", "could not be judged"),
        (Reason.PROTOCOL, Transport.ICMP, "a raw socket", "net.ipv4.ping_group_range"),
        (Reason.UNPARSABLE, Transport.TCP, "a socket option", "Source routing"),
    ],
)
def test_what_leads_around_the_guard_has_no_destination(
    reason: Reason, transport: Transport, what: str, why: str
) -> None:
    refused = Verdict(Action.DENY, Action.DENY, reason)
    told = job().sees(connects(20, "::", 0, refused, transport=transport, via="socket"))
    told.expects(
        FindsOnly("denied-flow"),
        Finds("denied-flow", destination=what, severity=Severity.HIGH),
        Lists(what, host="", ip="", port=0),
        Ends(ExitCode.DENIED),
    )
    assert why in advice(told)
    assert "allow:" not in advice(told)


@pytest.mark.parametrize(
    ("family", "what"),
    [
        ("packet", "a packet socket"),
        ("vsock", "a vsock socket"),
        ("xdp", "an XDP socket"),
        ("family 29", "a socket of family 29"),
    ],
)
def test_a_socket_that_is_not_ips_is_called_by_its_family(family: str, what: str) -> None:
    refused = Verdict(Action.DENY, Action.DENY, Reason.PROTOCOL)
    seen = connects(20, "::", 0, refused, transport=Transport.OTHER, via="socket", family=family)
    job().sees(seen).expects(
        Finds("denied-flow", destination=what), Lists(what, origin="family", ip="")
    )


def test_a_raw_socket_of_a_service_is_not_the_jobs() -> None:
    raw = Verdict(Action.DENY, Action.DENY, Reason.PROTOCOL)
    seen = connects(30, "::", 0, raw, transport=Transport.ICMP, via="socket")
    made = guarded(mode=Mode.BLOCK, worker=10)
    made.sees(running(10, 1, "Runner.Worker"), running(30, 1, "networkd"), seen).expects(
        Finds("denied-flow", severity=Severity.INFO, failing=False), Ends(ExitCode.CLEAN)
    )


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
