# SPDX-License-Identifier: MIT
"""Socket options that lead past the packet hooks, and transports that the hooks cannot judge."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable

import pytest

from lab import Lab
from lab.guard import DENIED, Guarded

pytestmark = pytest.mark.root

Run = Callable[..., Guarded]
BLOCK = "version: 1\nmode: block\nallow: home.test\n"
AUDIT = "version: 1\nmode: audit\nallow: home.test\n"

# Prints {name: errno}. `s` are sockets: tcp, tcp6, udp, packet.
PROBE = """\
import errno, json, socket, struct, sys
found = {{}}
def attempt(name, call):
    try:
        call()
        found[name] = 0
    except OSError as error:
        found[name] = error.errno
tcp, tcp6 = socket.socket(), socket.socket(socket.AF_INET6)
udp = socket.socket(type=socket.SOCK_DGRAM)
{body}
print(json.dumps(found))
"""

CLOSED = {
    "ttl": "tcp.setsockopt(0, 2, 3)",
    "ttl in a byte": "tcp.setsockopt(0, 2, bytes([3]))",
    "ttl of a long option": "tcp.setsockopt(0, 2, struct.pack('i', 3) + bytes(8000))",
    "ttl of a v4-mapped socket": "tcp6.setsockopt(0, 2, 3)",
    "hops": "tcp6.setsockopt(41, 16, 3)",
    "source routing": "tcp.setsockopt(0, 4, bytes([131, 7, 4, 203, 0, 113, 66, 0]))",
    "routing header": "tcp6.setsockopt(41, 57, bytes([0, 2, 4, 1, 0, 0, 0, 0]) + bytes(16))",
    "destination options": "tcp6.setsockopt(41, 59, bytes(8))",
    "foreign source": "tcp6.setsockopt(41, 78, 1)",
    "foreign source by the other level": "tcp6.setsockopt(0, 15, 1)",
    "foreign source in a long option": "tcp6.setsockopt(41, 78, bytes(8000))",
}
OPEN = {
    "ordinary ttl": "tcp.setsockopt(0, 2, 64)",
    "default ttl": "tcp.setsockopt(0, 2, -1)",
    "ordinary hops": "tcp6.setsockopt(41, 16, 255)",
    "ttl of a datagram": "udp.setsockopt(0, 2, 1)",
    "multicast ttl": "udp.setsockopt(0, 33, 1)",
    "no options": "tcp.setsockopt(0, 4, b'')",
    "no delay": "tcp.setsockopt(6, 1, 1)",
    "keepalive": "tcp.setsockopt(1, 9, 1)",
    "congestion": "tcp.setsockopt(6, 13, b'reno')",
    "buffer": "tcp.setsockopt(1, 8, 1 << 20)",
    "own source": "tcp6.setsockopt(41, 78, 0)",
    "foreign IPv4 source": "tcp.setsockopt(0, 15, 1)",
    "v6 only": "tcp6.setsockopt(41, 26, 1)",
    "more than a page": "tcp.setsockopt(6, 13, b'reno' + bytes(9000))",
}


def probe(attempts: dict[str, str]) -> list[str]:
    body = "\n".join(f"attempt({name!r}, lambda: {call})" for name, call in attempts.items())
    return [sys.executable, "-c", PROBE.format(body=body)]


def found(output: str) -> dict[str, int]:
    numbers: dict[str, int] = json.loads(output.splitlines()[-1])
    return numbers


def test_each_option_is_refused(leakstop: Run) -> None:
    done = leakstop(probe(CLOSED), policy=BLOCK)
    assert found(done.stdout) == dict.fromkeys(CLOSED, 1), done.stderr
    assert done.code == DENIED
    seen = done.events("connect")
    assert len(seen) == len(CLOSED)
    assert {(e["via"], e["policy"], e["applied"], e["reason"]) for e in seen} == {
        ("socket", "deny", "deny", "unparsable")
    }
    (flow,) = [flow for flow in done.report["flows"] if flow["applied"] == "deny"]
    assert flow["process"]["exe"].rpartition("/")[2].startswith("python")
    assert flow["count"] == len(CLOSED)


def test_audit_lists_them_and_lets_them_pass(leakstop: Run, lab: Lab) -> None:
    done = leakstop(probe(CLOSED), policy=AUDIT)
    assert found(done.stdout) == found(lab.run(probe(CLOSED)).stdout)
    assert done.code == 0
    seen = done.events("connect")
    assert [(e["policy"], e["applied"]) for e in seen] == [("deny", "allow")] * len(CLOSED)


@pytest.mark.parametrize("policy", [BLOCK, AUDIT])
def test_other_options_are_left_alone(leakstop: Run, lab: Lab, policy: str) -> None:
    done = leakstop(probe(OPEN), policy=policy)
    assert found(done.stdout) == found(lab.run(probe(OPEN)).stdout) == dict.fromkeys(OPEN, 0)
    assert (done.code, done.events("connect")) == (0, [])


@pytest.mark.parametrize("policy", [AUDIT, BLOCK])
def test_the_kernel_does_not_encrypt(lab: Lab, leakstop: Run, policy: str) -> None:
    """As on a kernel that has no kTLS, which libraries put up with; another ULP shows by whom."""
    ulps = {name: f"tcp.setsockopt(6, 31, b'{name}')" for name in ("tls", "mptcp")}
    assert found(lab.run(probe(ulps)).stdout)["mptcp"] == errno.EOPNOTSUPP
    done = leakstop([*probe(ulps)], policy=policy)
    assert found(done.stdout) == dict.fromkeys(ulps, errno.ENOENT), done.stderr
    assert (done.code, done.findings(), done.events("connect")) == (0, [], [])
