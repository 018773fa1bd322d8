# SPDX-License-Identifier: MIT
"""Which encrypted connections were looked into: what nothing ties to a plaintext was not."""

from __future__ import annotations

import pytest

from leakstop.engine import inspection
from leakstop.model.channel import Library
from leakstop.model.flow import Stream, Transport
from story import (
    LOCAL,
    NAMED,
    PASSED,
    REFUSED,
    Lists,
    Story,
    allow,
    allow_tls,
    answers,
    asks,
    connects,
    execs,
    guarded,
    looked_into,
    opaque,
    running,
    shows,
    spawns,
)

IP = "198.51.100.7"
API = "api.test:443"


def job() -> Story:
    """curl knows where api.test is."""
    return guarded(allow_tls("api.test"), allow("db.test", 5432)).sees(
        spawns(20, 1, "curl"), asks(20, "api.test"), answers("api.test", IP)
    )


def test_a_connection_whose_plaintext_is_seen_is_inspected() -> None:
    job().sees(connects(20, IP), looked_into(20, "api.test")).expects(
        Lists(API, encrypted=1, inspected=1, library="OpenSSL", uninspected="")
    )


def test_the_plaintext_may_be_told_of_first() -> None:
    job().sees(looked_into(20, "api.test"), connects(20, IP)).expects(
        Lists(API, encrypted=1, inspected=1)
    )


def test_without_a_sign_it_was_not() -> None:
    job().sees(connects(20, IP)).expects(Lists(API, encrypted=1, inspected=0, library=""))


@pytest.mark.parametrize("pid", [20, 21])
def test_the_sign_of_another_process_or_name_is_none(pid: int) -> None:
    name = "other.test" if pid == 20 else "api.test"
    job().sees(spawns(21, 1, "node"), connects(20, IP), looked_into(pid, name)).expects(
        Lists(API, inspected=0)
    )


def test_an_object_without_a_name_counts_for_its_process() -> None:
    job().sees(connects(20, IP), looked_into(20)).expects(Lists(API, inspected=1))


def test_a_bare_address_takes_any_object_of_its_process() -> None:
    told = job().sees(connects(20, "203.0.113.9", verdict=PASSED), looked_into(20, "x.test"))
    told.expects(Lists("203.0.113.9:443", encrypted=1, inspected=1))


def test_the_sign_of_another_program_under_the_same_number_is_none() -> None:
    job().sees(looked_into(20, "api.test"), execs(20, "uploader"), connects(20, IP)).expects(
        Lists(API, inspected=0)
    )


def test_why_not_is_said() -> None:
    why = "a static Go program without symbols"
    for story in (
        job().sees(opaque(20), connects(20, IP)),
        job().sees(connects(20, IP), opaque(20)),
    ):
        story.expects(Lists(API, encrypted=1, inspected=0, uninspected=why))


def test_what_shows_nothing_is_suspect_in_an_opaque_program() -> None:
    told = job().sees(answers("db.test", "198.51.100.8"))
    told.sees(connects(20, "198.51.100.8", 5432)).expects(Lists("db.test:5432", encrypted=0))
    told.sees(opaque(20)).expects(Lists("db.test:5432", encrypted=1, inspected=0))
    told.sees(connects(20, "198.51.100.8", 5432)).expects(Lists("db.test:5432", encrypted=2))


def test_several_libraries_and_connections_are_counted() -> None:
    told = job()
    for _ in range(3):
        told.sees(connects(20, IP))
    told.sees(looked_into(20, "api.test"), spawns(21, 1, "curl"), connects(21, IP))
    told.sees(looked_into(21, "api.test", Library.GNUTLS), spawns(22, 1, "curl"), connects(22, IP))
    told.expects(Lists(API, count=5, encrypted=5, inspected=4, library="OpenSSL, GnuTLS"))


def test_a_connection_that_shows_itself_is_counted_once() -> None:
    told = job().sees(connects(20, "203.0.113.9", verdict=PASSED))
    told.sees(shows(20, "203.0.113.9", "x.test", verdict=PASSED, cookie=7))
    told.expects(Lists("x.test:443", count=1, encrypted=1, inspected=0))
    told.sees(looked_into(20, "x.test")).expects(Lists("x.test:443", encrypted=1, inspected=1))


def test_one_that_was_looked_into_before_it_shows_itself_still_is() -> None:
    told = job().sees(looked_into(20, "x.test"), connects(20, "203.0.113.9", verdict=PASSED))
    told.sees(shows(20, "203.0.113.9", "x.test", verdict=PASSED, cookie=7))
    told.expects(Lists("x.test:443", count=1, encrypted=1, inspected=1))


def test_plain_http_on_the_port_of_tls_hides_nothing() -> None:
    told = job().sees(connects(20, "203.0.113.9", verdict=PASSED))
    told.sees(
        shows(20, "203.0.113.9", "x.test", verdict=PASSED, cookie=7, stream=Stream.HTTP)
    ).expects(Lists("x.test:443", count=1, encrypted=0))


@pytest.mark.parametrize(
    ("port", "transport", "why"),
    [
        (22, Transport.TCP, "SSH encrypts by itself"),
        (443, Transport.UDP, "QUIC encrypts by itself"),
    ],
)
def test_what_encrypts_by_itself_is_never_inspected(
    port: int, transport: Transport, why: str
) -> None:
    told = job().sees(connects(20, IP, port, PASSED, transport=transport), looked_into(20))
    told.expects(Lists(f"api.test:{port}", encrypted=1, inspected=0, uninspected=why))


@pytest.mark.parametrize(("verdict", "service"), [(REFUSED, False), (LOCAL, False), (PASSED, True)])
def test_what_did_not_leave_or_is_not_the_jobs_counts_for_nothing(
    verdict: object, service: bool
) -> None:
    told = guarded(worker=9)
    told.sees(running(30, 1, "sshd") if service else spawns(30, 9, "curl"))
    told.sees(connects(30, IP, 443, verdict))  # type: ignore[arg-type]
    assert [flow.encrypted for flow in told.report.flows] == [0]


def test_forgetting_errs_on_the_side_of_not_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_CONNECTIONS", 4)
    monkeypatch.setattr(inspection, "_PROCESSES", 3)
    told = job()
    for pid in range(30, 40):
        told.sees(spawns(pid, 1, "curl"), connects(pid, IP))
    for pid in reversed(range(30, 40)):
        told.sees(looked_into(pid, "api.test"))
    told.expects(Lists(API, encrypted=10, inspected=3))


def test_a_tunnel_is_known_by_what_it_shows_inside() -> None:
    proxy = "198.51.100.9"
    told = job().sees(
        answers("proxy.test", proxy),
        connects(20, proxy, 3128, PASSED),
        shows(20, proxy, "x.test", 3128, PASSED, name_port=443, stream=Stream.HTTP, cookie=8),
        shows(20, proxy, "x.test", 3128, PASSED, name_port=443, cookie=8),
    )
    told.expects(Lists("x.test:443", count=1, encrypted=1, inspected=0))
    told.sees(looked_into(20, "x.test")).expects(Lists("x.test:443", encrypted=1, inspected=1))


def test_named_is_no_reason_to_call_it_inspected() -> None:
    told = job().sees(connects(20, IP, verdict=NAMED))
    assert [flow.inspected for flow in told.report.flows] == [0]
