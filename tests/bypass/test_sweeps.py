# SPDX-License-Identifier: MIT
"""T05, T12 in full, processes that are gone before anybody looks, and what stays on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bypass.case import FRIEND, JOB, THIEF, UDP_PORT
from bypass.conftest import TCP_PORTS, Scene
from lab.guard import DENIED, Guarded, guard

pytestmark = pytest.mark.root

modes = pytest.mark.parametrize("mode", ["", "audit", "block"])
BLOCK = "version: 1\nmode: block\n"


@pytest.fixture
def python(scene: Scene) -> Callable[..., Any]:
    """Run a program in the lab, guarded in a mode or not at all; it prints one JSON value."""

    def run(mode: str, program: str, *arguments: str, allow: str = "") -> tuple[Any, Guarded]:
        command = [sys.executable, "-c", program, *arguments]
        if mode:
            policy = f"version: 1\nmode: {mode}\nallow: {allow or 'nobody.test'}\n"
            done = guard(scene.lab, command, policy=policy, reports=scene.reports)
        else:
            bare = scene.lab.run(command)
            done = Guarded(bare.returncode, bare.stdout, bare.stderr, scene.reports)
        assert done.stdout, done.stderr
        return json.loads(done.stdout), done

    return run


# -- ports ------------------------------------------------------------------------------------

CONNECT = """
import json, socket, sys
told = {}
for port in sys.argv[2:]:
    try:
        with socket.create_connection((sys.argv[1], int(port)), timeout=5) as connection:
            connection.sendall(b"MARK-" + port.encode() + b";")
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        told[port] = 0
    except OSError as error:
        told[port] = error.errno
print(json.dumps(told))
"""
PORTS = sorted({*TCP_PORTS} - {80, 443})


@modes
def test_no_port_is_free(scene: Scene, python: Callable[..., Any], mode: str) -> None:
    told, done = python(mode, CONNECT, THIEF[0], *map(str, PORTS))
    blocked = mode == "block"
    for port in PORTS:
        assert told[str(port)] == (1 if blocked else 0), f"port {port}: errno {told[str(port)]}"
        assert scene.tap.holds(b"MARK-%d;" % port) != blocked, f"port {port}"
    if mode:
        seen = {flow["port"]: flow["policy_verdict"] for flow in done.report["flows"]}
        assert seen == dict.fromkeys(PORTS, "deny")
    if blocked:
        assert scene.tap.payload_to(THIEF) == 0
        assert done.code == DENIED


def test_an_allowed_port_opens_no_other(scene: Scene, python: Callable[..., Any]) -> None:
    allowed = PORTS[0]
    told, _ = python("block", CONNECT, FRIEND[0], *map(str, PORTS), allow=f"{FRIEND[0]}:{allowed}")
    assert [int(port) for port in told if told[port] == 0] == [allowed]


# -- protocols --------------------------------------------------------------------------------

RAW = """
import json, socket, sys
told = {}
for number in range(256):
    try:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, number)
        # IPPROTO_RAW takes whole packets: its case is ip-hdrincl
        data = b"MARK-%d;" % number if number != 255 else b""
        if data:
            made.sendto(data, (sys.argv[1], 0))
        told[number] = 0
    except OSError as error:
        told[number] = error.errno
print(json.dumps(told))
"""


@modes
def test_no_protocol_is_free(scene: Scene, python: Callable[..., Any], mode: str) -> None:
    told, done = python(mode, RAW, THIEF[0])
    blocked = mode == "block"
    refused = {int(number): told[number] for number in told if told[number]}
    # The kernel gives out no socket for number 0 (EPROTONOSUPPORT).
    assert refused == ({0: 93} | dict.fromkeys(range(1, 256), 1) if blocked else {0: 93})
    arrived = {number for number in range(1, 255) if scene.tap.holds(b"MARK-%d;" % number)}
    assert arrived == (set() if blocked else set(range(1, 255)))
    if mode:
        assert {flow["policy_verdict"] for flow in done.report["flows"]} == {"deny"}
        assert sum(flow["count"] for flow in done.report["flows"]) >= 255
    if blocked:
        assert done.code == DENIED


# -- lives of less than five milliseconds -----------------------------------------------------

BLINK = """
#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9999) };

    if (argc < 3 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
        _exit(2);
    _exit(sendto(socket(AF_INET, SOCK_DGRAM, 0), argv[2], strlen(argv[2]), 0,
                 (struct sockaddr *)&to, sizeof(to)) < 0);
}
"""
TIMES = 20
SHORT_NS = 5_000_000


@pytest.fixture
def blink(scene: Scene) -> Path:
    """A program that sends a datagram and is gone."""
    source, program = scene.lab.directory / "blink.c", scene.lab.directory / "blink"
    source.write_text(BLINK)
    subprocess.run(["gcc", "-O1", "-static", "-o", program, source], check=True)
    return program


@modes
def test_a_short_life_is_long_enough_to_be_seen(scene: Scene, blink: Path, mode: str) -> None:
    script = f"for i in $(seq {TIMES}); do {blink} {THIEF[0]} MARK-$i-; done; true"
    if not mode:
        scene.lab.run(["sh", "-c", script])
        assert all(scene.tap.holds(b"MARK-%d-" % i) for i in range(1, TIMES + 1))
        return
    policy = f"version: 1\nmode: {mode}\nallow: nobody.test\n"
    done = guard(scene.lab, ["sh", "-c", script], policy=policy, reports=scene.reports)
    (flow,) = done.report["flows"]
    assert (flow["ip"], flow["port"], flow["count"]) == (THIEF[0], UDP_PORT, TIMES)
    assert flow["process"]["exe"] == str(blink)
    assert (scene.tap.payload_to(THIEF) == 0) == (mode == "block")
    began = {event["pid"]: event["ts_ns"] for event in done.events("fork")}
    ended = {event["pid"]: event["ts_ns"] for event in done.events("exit")}
    senders = {event["pid"] for event in done.events("connect")}
    assert len(senders) == TIMES
    lives = sorted(ended[pid] - began[pid] for pid in senders)
    assert lives[0] < SHORT_NS, "no life was short: the test shows nothing"


def test_a_short_life_may_send_to_a_friend(scene: Scene, blink: Path) -> None:
    policy = f"{BLOCK}allow: udp://{FRIEND[0]}:{UDP_PORT}\n"
    done = guard(scene.lab, [blink, FRIEND[0], "MARK-0-"], policy=policy, reports=scene.reports)
    assert (done.code, done.findings()) == (0, [])
    assert scene.tap.holds(b"MARK-0-")


# -- what stays -------------------------------------------------------------------------------

TALK = """
import socket
def talk(family, kind, bind, to=None):
    server = socket.socket(family, kind)
    server.bind(bind)
    if kind == socket.SOCK_STREAM:
        server.listen()
    name = server.getsockname()
    client = socket.socket(family, kind)
    client.connect(name if to is None else (to, *name[1:]))
    client.send(b"MARK-stays")
    server.settimeout(5)
    end = server.accept()[0] if kind == socket.SOCK_STREAM else server
    assert end.recv(99) == b"MARK-stays"
INET, INET6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
"""
LOCAL = {
    "abstract-unix": 'talk(UNIX, STREAM, "\\0leakstop-test")',
    "abstract-unix-datagram": 'talk(UNIX, DGRAM, "\\0leakstop-test")',
    "unspecified-tcp": 'talk(INET, STREAM, ("0.0.0.0", 0), "0.0.0.0")',
    "unspecified-udp": 'talk(INET, DGRAM, ("0.0.0.0", 0), "0.0.0.0")',
    "unspecified-tcp6": 'talk(INET6, STREAM, ("::", 0), "::")',
    "loopback-elsewhere": 'talk(INET, STREAM, ("127.77.0.1", 0))',
    "loopback-v4-mapped": 'talk(INET6, STREAM, ("::", 0), "::ffff:127.0.0.1")',
    "loopback6": 'talk(INET6, DGRAM, ("::1", 0))',
    "own-address": f'talk(INET, STREAM, ("{JOB[0]}", 0))',
    "own-address6": f'talk(INET6, DGRAM, ("{JOB[1]}", 0))',
    "ping": """
made = socket.socket(INET, DGRAM, socket.IPPROTO_ICMP)
made.settimeout(5)
made.sendto(bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0]), ("127.0.0.1", 0))
assert made.recv(99)[0] == 0
""",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 0))",
}


@pytest.mark.parametrize("way", sorted(LOCAL))
def test_what_stays_on_the_machine_needs_no_rule(scene: Scene, way: str) -> None:
    command = [sys.executable, "-c", TALK + LOCAL[way]]
    done = guard(scene.lab, command, policy=BLOCK, reports=scene.reports)
    assert (done.code, done.findings()) == (0, []), done.stderr
    assert not scene.tap.holds(b"MARK-stays")
