# SPDX-License-Identifier: MIT
"""Transports beside TCP and UDP: refused as the socket is made, or judged like any other flow."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Lab
from lab.guard import DENIED, FINDINGS, Guarded
from lab.network import HOME, OTHER
from lab.tokens import Token

pytestmark = pytest.mark.root

Run = Callable[..., Guarded]
BLOCK = "version: 1\nmode: block\nallow: home.test\n"
AUDIT = "version: 1\nmode: audit\nallow: home.test\n"

# As Go's net package does: MPTCP if there is such a thing, else TCP.
FALL_BACK = """\
import socket, sys
try:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
except OSError as error:
    print(error.errno)
    sock = socket.socket()
sock.settimeout(5)
sock.connect((sys.argv[1], 443))
"""
MAKE = """\
import socket, sys
try:
    socket.socket(*map(int, sys.argv[1:]))
except OSError as error:
    sys.exit(error.errno)
"""
PING = """\
import socket, struct, sys
family, protocol, kind = (10, 58, 128) if ":" in sys.argv[1] else (2, 1, 8)
with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
    sock.settimeout(5)
    try:
        sock.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, 7) + b"ping", (sys.argv[1], 0))
    except OSError as error:
        sys.exit(error.errno)
    assert sock.recv(100).endswith(b"ping")
"""
UDP_LITE, RAW_ICMP, RAW_OWN = (2, 2, 136), (2, 3, 1), (2, 3, 255)
RAW6 = (10, 3, 58)


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def test_mptcp_is_as_absent_in_block(leakstop: Run, lab: Lab) -> None:
    learn = f"getent ahostsv4 home.test >/dev/null; exec {sys.executable} mptcp.py {HOME[0]}"
    (lab.directory / "mptcp.py").write_text(FALL_BACK)
    done = leakstop(["sh", "-c", learn], policy=BLOCK)
    assert (done.code, done.stdout) == (0, f"{errno.EPROTONOSUPPORT}\n"), done.stderr
    denied = leakstop(python(FALL_BACK, OTHER[0]), policy=BLOCK)
    assert denied.code == DENIED
    assert [(e["ip"], e["via"]) for e in denied.events("connect")] == [(OTHER[0], "connect")]


def test_mptcp_is_as_absent_in_audit(leakstop: Run) -> None:
    """What is written to TLS could not be told to go there."""
    done = leakstop(python(FALL_BACK, OTHER[0]), policy=AUDIT)
    assert (done.code, done.stdout) == (0, f"{errno.EPROTONOSUPPORT}\n"), done.stderr
    (seen,) = done.events("connect")
    assert (seen["ip"], seen["port"], seen["transport"]) == (OTHER[0], 443, "tcp")
    (flow,) = done.report["flows"]
    assert flow["process"]["exe"].rpartition("/")[2].startswith("python")


@pytest.mark.parametrize("made", [UDP_LITE, RAW_ICMP, RAW_OWN, RAW6])
def test_other_transports_are_refused_as_they_are_made(
    leakstop: Run, made: tuple[int, int, int]
) -> None:
    command = python(MAKE, *made)
    twice = ["sh", "-c", '"$@"; exec "$@"', "sh", *command]
    done = leakstop(twice, policy=BLOCK)
    assert done.code == DENIED
    seen = done.events("connect")
    assert [(e["via"], e["applied"], e["reason"]) for e in seen] == [
        ("socket", "deny", "protocol")
    ] * 2
    (flow,) = done.report["flows"]
    assert flow["count"] == 2, "one cause is one line"
    assert flow["process"]["exe"].rpartition("/")[2].startswith("python")
    passed = leakstop(command, policy=AUDIT)
    assert passed.code == 0, passed.stderr
    (seen_too,) = passed.events("connect")
    assert (seen_too["policy"], seen_too["applied"]) == ("deny", "allow")


@pytest.fixture
def pingable(lab: Lab) -> Lab:
    """Everybody may make ping sockets, as on distributions; in the lab's own namespace."""
    setting = "/proc/sys/net/ipv4/ping_group_range"
    lab.job.call(lambda: Path(setting).write_text("0 2147483647"))
    return lab


@pytest.mark.parametrize("address", HOME)
def test_a_rule_for_icmp_lets_ping_through(leakstop: Run, pingable: Lab, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    policy = f"version: 1\nmode: block\nallow: 'icmp://{host}'\n"
    done = leakstop(python(PING, address), policy=policy)
    assert done.code == 0, done.stderr
    assert [e["applied"] for e in done.events("connect")] == ["allow"]
    elsewhere = OTHER[HOME.index(address)]
    denied = leakstop(python(PING, elsewhere), policy=policy)
    assert denied.code == DENIED
    (seen,) = denied.events("connect")
    assert (seen["ip"], seen["transport"], seen["applied"]) == (elsewhere, "icmp", "deny")


def test_a_ping_to_a_named_host(leakstop: Run, pingable: Lab) -> None:
    ping = f"getent ahostsv4 home.test >/dev/null; exec {sys.executable} ping.py {HOME[0]}"
    (pingable.directory / "ping.py").write_text(PING)
    policy = "version: 1\nmode: block\nallow: icmp://home.test\n"
    done = leakstop(["sh", "-c", ping], policy=policy)
    assert done.code == 0, done.stderr


SECRET_PING = """\
import os, socket, struct, sys
made = socket.socket(*map(int, sys.argv[2:]))
text = struct.pack("!BBHHH", 8, 0, 0, 0, 7) + os.environb[sys.argv[1].encode()]
made.sendto(text, ("{there}", 9))
"""


@pytest.mark.parametrize("made", [(2, 2, 1), UDP_LITE], ids=["ping", "udp-lite"])
def test_a_secret_in_what_is_neither_tcp_nor_udp(
    leakstop: Run, pingable: Lab, secret: Token, made: tuple[int, int, int]
) -> None:
    command = python(SECRET_PING.format(there=OTHER[0]), secret.name, *made)
    assert pingable.run(command, env=secret.env).returncode == 0
    run = leakstop(command, policy=AUDIT, secrets=[secret])
    assert run.code == FINDINGS, run.stderr
    (write,) = run.events("write")
    assert (write["ip"], write["applied"]) == (OTHER[0], "deny")
    assert run.shows(secret) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_ping_of_this_machine_needs_no_rule(leakstop: Run, pingable: Lab, address: str) -> None:
    done = leakstop(python(PING, address), policy=BLOCK)
    assert done.code == 0, done.stderr
    assert [flow["reason"] for flow in done.report["flows"]] == ["local"]
