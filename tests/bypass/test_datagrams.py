# SPDX-License-Identifier: MIT
"""T07: what the kernel makes of datagrams that many send at once, or in another's name."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable

import pytest

from bypass.case import JOB, THIEF, Case
from bypass.conftest import Scene
from lab import Lab
from lab.guard import DENIED, Guarded
from lab.network import COLLECTOR, HOME

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

PORT = 9999
POLICY = f"version: 1\nallow: udp://{HOME[0]}:{PORT}\n"
# Processes, since Python's threads run one at a time.
SHARE = """\
import os, socket, sys, time
friend, thief, port, payload = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].encode()
shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
shared.connect((thief, port))
end = time.monotonic() + 3
children = []
for number in range(6):
    child = os.fork()
    if child == 0:
        sent = 0
        while time.monotonic() < end:
            try:
                for _ in range(100):
                    if number % 2:
                        shared.sendto(b"x", (friend, port))
                    else:
                        shared.send(payload)
                sent = 1
            except PermissionError:
                pass
        os._exit(sent)
    children.append(child)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_no_verdict_is_taken_for_another_peers(lab: Lab, leakstop: Guard) -> None:
    payload = secrets.token_hex(24)
    share = [sys.executable, "-c", SHARE, HOME[0], COLLECTOR[0], str(PORT), payload]
    run = leakstop(share, mode="block", policy=POLICY)
    assert not lab.collector.received(payload.encode())
    assert run.stdout.split() == ["0", "1"] * 3, "the friend gets his all the while"
    assert run.code == DENIED, run.stderr


@pytest.mark.parametrize("scope", ["run", "start"])
def test_nothing_is_reflected_to_whom_it_says_it_comes_from(scene: Scene, scope: str) -> None:
    case = Case("reflected-by-a-sysctl", to=THIEF[1])
    assert scene.attempt(case).arrived, "else the test would prove nothing"
    sent = scene.attempt(case, scope=scope)
    assert not sent.arrived
    assert sent.error == "EPERM"
    flows = sent.guarded.report["flows"]
    assert [flow["ip"] for flow in flows if flow["applied"] == "deny"] == [JOB[1]]
