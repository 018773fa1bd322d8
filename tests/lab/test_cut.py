# SPDX-License-Identifier: MIT
"""Connections are ended wherever they are, and whoever waits on them is told at once."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pytest

from lab import Lab
from lab.guard import DENIED, Guarded
from lab.namespace import Namespace
from leakstop.act.cut import cut, refusal

pytestmark = pytest.mark.root

SOON_S = 0.05
WAITER = """
import json, socket, sys, time
SO_COOKIE = 57
here = sys.argv[1]
family = socket.AF_INET6 if ":" in here else socket.AF_INET
server = socket.create_server((here, 0), family=family)
mapped = len(sys.argv) > 2
client = socket.socket(socket.AF_INET6 if mapped else family)
client.connect(("::ffff:" * mapped + here, server.getsockname()[1]))
accepted, _ = server.accept()
cookie = client.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
print(json.dumps(int.from_bytes(cookie, sys.byteorder)), flush=True)
try:
    said = [client.recv(1) and 0]
except OSError as error:
    said = [error.errno]
said.append(time.monotonic())
try:
    client.send(b"x")
    said.append(0)
except OSError as error:
    said.append(error.errno)
print(json.dumps(said), flush=True)
"""


@dataclass
class Waiter:
    """A program that waits for an answer on a connection of its own."""

    pid: int
    cookie: int
    output: IO[str]

    def expect_aborted(self, since: float) -> None:
        """It was told, and soon."""
        number, when, later = json.loads(self.output.readline())
        assert number == errno.ECONNABORTED
        assert when - since < SOON_S
        assert later == errno.EPIPE


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    try:
        made.call(lambda: subprocess.run(["ip", "link", "set", "lo", "up"], check=True))
        yield made
    finally:
        made.close()


@contextmanager
def waiting(where: Callable[[Callable[[], object]], object], *arguments: str) -> Iterator[Waiter]:
    command = [sys.executable, "-c", WAITER, *arguments]
    process: subprocess.Popen[str] = where(  # type: ignore[assignment]
        lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    )
    assert process.stdout is not None
    try:
        yield Waiter(process.pid, json.loads(process.stdout.readline()), process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("arguments", [("127.0.0.1",), ("::1",), ("127.0.0.1", "mapped")])
def test_in_another_namespace(namespace: Namespace, arguments: tuple[str, ...]) -> None:
    with waiting(namespace.call, *arguments) as waiter:
        begun = time.monotonic()
        assert cut({waiter.cookie: waiter.pid}) == {waiter.cookie}
        waiter.expect_aborted(begun)


@pytest.mark.parametrize("here", ["127.0.0.1", "::1"])
def test_in_this_namespace(here: str) -> None:
    with waiting(lambda start: start(), here) as waiter:
        begun = time.monotonic()
        assert cut({waiter.cookie: waiter.pid}) == {waiter.cookie}
        waiter.expect_aborted(begun)


def test_whoever_connected_may_have_ended(namespace: Namespace) -> None:
    """Its child still waits, in a namespace that only it is in."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    with waiting(namespace.call, "127.0.0.1") as waiter:
        begun = time.monotonic()
        assert cut({waiter.cookie: gone.pid}) == {waiter.cookie}
        waiter.expect_aborted(begun)


def test_several_at_once_and_no_others(namespace: Namespace) -> None:
    with (
        waiting(namespace.call, "127.0.0.1") as one,
        waiting(lambda start: start(), "::1") as two,
        waiting(namespace.call, "127.0.0.1") as bystander,
    ):
        begun = time.monotonic()
        assert cut({one.cookie: one.pid, two.cookie: two.pid}) == {one.cookie, two.cookie}
        one.expect_aborted(begun)
        two.expect_aborted(begun)
        assert cut({bystander.cookie: bystander.pid}) == {bystander.cookie}, "it was still there"


def test_a_second_time_changes_nothing(namespace: Namespace) -> None:
    with waiting(namespace.call, "127.0.0.1") as waiter:
        assert cut({waiter.cookie: waiter.pid}) == {waiter.cookie}
        assert cut({waiter.cookie: waiter.pid}) == frozenset()
    assert cut({}) == frozenset()


def test_no_namespace_is_kept(namespace: Namespace) -> None:
    """The inner one ends with its last process, and the cable to it with both."""
    inner = Namespace()
    try:
        cable = ["ip", "link", "add", "outside", "type", "veth", "peer", "inside"]
        namespace.call(lambda: subprocess.run([*cable, "netns", inner.path], check=True))
        inner.call(lambda: subprocess.run(["ip", "link", "set", "lo", "up"], check=True))
        with waiting(inner.call, "127.0.0.1") as waiter:
            assert cut({waiter.cookie: waiter.pid}) == {waiter.cookie}
    finally:
        inner.close()
    deadline = time.monotonic() + 5
    while (left := namespace.call(links)) != {"lo"} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == {"lo"}


CLIENT = """
import json, socket, ssl, sys, time
family, place, shown = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, *sys.argv[2:]
address = socket.getaddrinfo(place, 443, family, socket.SOCK_STREAM)[0][4]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with socket.socket(family, socket.SOCK_STREAM) as connection:
    connection.connect(address)
    begun = time.monotonic()
    try:
        context.wrap_socket(connection, server_hostname=shown or None).send(b"data")
        number = 0
    except OSError as error:
        number = error.errno
print(json.dumps([number, time.monotonic() - begun]))
"""


@pytest.mark.parametrize("family", ["4", "6"])
@pytest.mark.parametrize(
    ("shown", "destination", "over"),
    [("collector.test", "collector.test:443", "home.test:443"), ("", "home.test:443", "")],
)
def test_a_guarded_program_is_told_at_once(
    lab: Lab, leakstop: Callable[..., Guarded], family: str, shown: str, destination: str, over: str
) -> None:
    """The agent is in the machine's namespace, the program in the lab's."""
    command = [sys.executable, "-c", CLIENT, family, "home.test", shown]
    run = leakstop(command, mode="block", policy="version: 1\nallow: home.test\n")
    number, waited_s = json.loads(run.stdout)
    assert number in (errno.ECONNABORTED, errno.EPIPE)
    assert waited_s < SOON_S
    assert run.code == DENIED
    (flow,) = [flow for flow in run.report["flows"] if flow["protocol"] == "tcp"]
    assert (flow["applied"], flow["count"], flow["shown"]) == ("deny", 1, shown)
    assert (f"{flow['host']}:{flow['port']}", flow["over"]) == (destination, over)
    (finding,) = run.findings()
    assert (finding["id"], finding["destination"]) == ("denied-flow", destination)
    assert not lab.home.received(b"data")


def test_a_guarded_program_that_shows_itself_is_not(
    lab: Lab, leakstop: Callable[..., Guarded]
) -> None:
    command = [sys.executable, "-c", CLIENT, "4", "home.test", "home.test"]
    run = leakstop(command, mode="block", policy="version: 1\nallow: home.test\n")
    assert json.loads(run.stdout)[0] == 0, run.stderr
    assert (run.code, run.findings()) == (0, [])


def links() -> set[str]:
    """Names of the interfaces here."""
    return {name for _, name in socket.if_nameindex()}


def test_this_kernel_can() -> None:
    assert refusal() == ""
