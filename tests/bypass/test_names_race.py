# SPDX-License-Identifier: MIT
"""What the policy allows is open as soon as the answer is read: ten thousand tries, none denied."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import Lab
from lab.guard import Guarded

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

RACING = Path(__file__).with_name("racing.py")
SERVER = "198.51.100.53"
POLICY = "version: 1\nallow: ['*.zone.test', 'udp://198.51.100.53:53']\n"
TRIES = 10_000


@contextmanager
def servers(lab: Lab) -> Iterator[None]:
    """The name server, and a network in which every address is there."""

    def ip(words: str) -> None:
        subprocess.run(["ip", *words.split()], check=True)

    def start() -> subprocess.Popen[bytes]:
        ip(f"address add {SERVER}/32 dev service0")
        ip("-6 route add local 2001:db8:77::/64 dev lo")
        return subprocess.Popen([sys.executable, str(RACING), "serve", SERVER])

    lab.job.call(lambda: ip("-6 route add 2001:db8:77::/64 via 2001:db8::1 dev job0"))
    server = lab.services.call(start)
    try:
        yield
    finally:
        server.kill()
        server.wait()


def test_a_connection_right_after_its_answer(lab: Lab, leakstop: Guard) -> None:
    """Each to an address of its own, and then two programs at once to the same ones."""
    alone, both = TRIES // 2, TRIES // 4
    racer = f'"$0" "$1" run {SERVER}'
    command = (
        f"{racer} {alone} a.zone.test; "
        f"{racer} {both} both1.zone.test & {racer} {both} both2.zone.test; wait"
    )
    with servers(lab):
        run = leakstop(
            ["sh", "-c", command, sys.executable, str(RACING)],
            mode="block",
            policy=POLICY,
            timeout_s=60,
        )
    ended = Counter[str]()
    for error, count in re.findall(r"'(\w+)': (\d+)", run.stdout):
        ended[error] += int(count)
    assert ended == {"ECONNREFUSED": TRIES}, run.stderr
    assert not [event for event in run.events("connect") if event["applied"] == "deny"]
