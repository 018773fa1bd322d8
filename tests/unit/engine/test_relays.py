# SPDX-License-Identifier: MIT
"""A relay's flow names who was connected to it, and nobody who was not."""

from __future__ import annotations

from leakstop.engine.lineage import Lineage
from leakstop.engine.relays import Relays
from leakstop.model.flow import Transport
from leakstop.model.verdict import Mode
from story import (
    LOCAL,
    MS,
    REFUSED,
    Finds,
    Story,
    asks,
    binds,
    connects,
    execs,
    exits,
    fork,
    guarded,
    running,
    spawns,
)

IP = "203.0.113.9"
WORKER, SHELL, SOCAT, CURL = 100, 10, 20, 30


def job() -> Story:
    """A shell started a relay and, beside it, a client."""
    return guarded(mode=Mode.BLOCK, worker=WORKER).sees(
        running(WORKER, 1, "Runner.Worker"),
        spawns(SHELL, WORKER, "bash"),
        spawns(SOCAT, SHELL, "socat"),
        spawns(CURL, SHELL, "curl"),
    )


def relayed_for(told: Story) -> list[str]:
    """Who is said to be behind each flow that wanted to leave."""
    return [
        flow.relayed_for.command if flow.relayed_for else ""
        for flow in told.report.flows
        if flow.ip == IP
    ]


def test_both_ends_are_named() -> None:
    told = job().sees(
        binds(SOCAT, 3128),
        connects(CURL, "127.0.0.1", 3128, LOCAL),
        connects(SOCAT, IP, 443, REFUSED),
    )
    assert relayed_for(told) == ["curl"]
    told.expects(
        Finds(
            "denied-flow",
            destination=f"{IP}:443",
            action_taken=(
                "Denied before the first byte: nothing was sent. It may have been sent for "
                "curl (pid 30), which was connected to this program."
            ),
        )
    )
    (flow,) = (flow for flow in told.report.flows if flow.ip == IP)
    assert (flow.process.command, flow.relayed_for.pid) == ("socat", CURL)


def test_a_listener_on_all_addresses() -> None:
    for any_address, here in (("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::", "::1")):
        told = job().sees(
            binds(SOCAT, 3128, any_address),
            connects(CURL, here, 3128, LOCAL),
            connects(SOCAT, IP, 443, REFUSED),
        )
        assert relayed_for(told) == ["curl"]


def test_a_child_that_serves() -> None:
    """``socat TCP-LISTEN,fork``: the one that listens is not the one that sends."""
    told = job().sees(
        binds(SOCAT, 3128),
        fork(21, SOCAT),
        connects(CURL, "127.0.0.1", 3128, LOCAL),
        connects(21, IP, 443, REFUSED),
    )
    assert relayed_for(told) == ["curl"]


def test_a_question_of_a_relay() -> None:
    told = job().sees(
        binds(SOCAT, 3128),
        connects(CURL, "127.0.0.1", 3128, LOCAL),
        asks(SOCAT, "collector.test", REFUSED),
    )
    (flow,) = (flow for flow in told.report.flows if flow.host == "collector.test")
    assert flow.relayed_for is not None and flow.relayed_for.command == "curl"


def test_the_last_one_is_named_and_each_is_a_line() -> None:
    told = job().sees(
        binds(SOCAT, 3128),
        connects(CURL, "127.0.0.1", 3128, LOCAL),
        connects(SOCAT, IP, 443, REFUSED),
        spawns(31, SHELL, "wget"),
        connects(31, "127.0.0.1", 3128, LOCAL),
        connects(SOCAT, IP, 443, REFUSED),
    )
    assert relayed_for(told) == ["curl", "wget"]


def test_nobody_is_named_without_reason() -> None:
    """Not before somebody came, not for another port, a datagram, or the client itself."""
    told = job().sees(
        binds(SOCAT, 3128),
        connects(SOCAT, IP, 1, REFUSED),
        connects(CURL, "127.0.0.1", 8080, LOCAL),
        connects(CURL, "127.0.0.1", 3128, LOCAL, transport=Transport.UDP),
        connects(SOCAT, IP, 2, REFUSED),
        connects(CURL, "127.0.0.1", 3128, LOCAL),
        connects(CURL, IP, 3, REFUSED),
        connects(SHELL, IP, 4, REFUSED),
    )
    assert relayed_for(told) == ["", "", "", ""]


def test_what_a_server_started_came_from_itself() -> None:
    """A test runner that serves, and its tests that ask it: they work for it, not it for them."""
    told = job().sees(
        binds(SHELL, 8000),
        connects(CURL, "127.0.0.1", 8000, LOCAL),
        connects(CURL, IP, 443, REFUSED),
        connects(SHELL, IP, 80, REFUSED),
    )
    assert relayed_for(told) == ["", ""]


def test_a_server_of_the_worker_is_behind_no_step() -> None:
    told = job().sees(
        binds(WORKER, 8000),
        running(7, 1, "dockerd"),
        connects(7, "127.0.0.1", 8000, LOCAL),
        connects(CURL, IP, 443, REFUSED),
    )
    assert relayed_for(told) == [""]


def test_a_number_that_was_given_again() -> None:
    told = guarded(mode=Mode.BLOCK).sees(
        fork(SOCAT, 1, start_ns=50 * MS),
        execs(SOCAT, "socat", start_ns=50 * MS),
        spawns(CURL, 1, "curl"),
        binds(SOCAT, 3128),
        connects(CURL, "127.0.0.1", 3128, LOCAL),
        exits(SOCAT),
        fork(SOCAT, 1, start_ns=90 * MS),
        connects(SOCAT, IP, 443, REFUSED),
    )
    assert relayed_for(told) == [""]


def test_a_job_of_many_listeners() -> None:
    relays = Relays(Lineage(), limit=3)
    for port in range(1, 9):
        relays.bound(binds(port, port))
        relays.connected(connects(CURL, "127.0.0.1", port, LOCAL))
    assert (len(relays._bound), len(relays._clients)) == (3, 3)
