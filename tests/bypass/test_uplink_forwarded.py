# SPDX-License-Identifier: MIT
"""Packets of a container: its sockets are judged where they are, what it makes by hand is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import Lab, forge
from lab.machine import Machine, machine
from lab.network import BARE, HOME, RESOLVER

pytestmark = pytest.mark.root

INSIDE = "172.30.7.2"
ALLOWED = ["home.test:80", f"udp://{BARE}:9999"]
NEEDLE = b"the-needle"
MODES = pytest.mark.parametrize("mode", ["audit", "block"])

# As an engine does it: a bridge, and behind a veth port of it the container's namespace.
CONTAINER = f"""\
{forge.source()}
import ctypes, os, subprocess, sys, time

def ip(*lines):
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)

open("/proc/sys/net/ipv4/ip_forward", "w").write("1")
ip("link add br-0123456789ab type bridge", "link set br-0123456789ab address 02:00:00:00:07:01 up",
   "address add 172.30.7.1/24 dev br-0123456789ab")
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    ctypes.CDLL(None).unshare(0x40000000)  # CLONE_NEWNET
    os.write(ready[1], b".")
    os.read(go[0], 1)
    ip("link set lo up", "address add {INSIDE}/24 dev inside0", "link set inside0 up",
       "route add default via 172.30.7.1")
    show = ["ip", "-o", "link", "show", "inside0"]
    while b"state UP" not in subprocess.check_output(show):  # until then frames are dropped
        time.sleep(0.01)
    exec(sys.argv[1])
    sys.stdout.flush()
    os._exit(0)
os.read(ready[0], 1)
ip("link add port0 master br-0123456789ab up type veth peer name inside0 "
   f"netns {{child}}")
os.write(go[1], b".")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def by_hand(packet: bytes) -> str:
    return f"send_frame('inside0', {packet!r}, '02:00:00:00:07:01')"


def by_socket(target: str, port: int, payload: bytes) -> str:
    sender = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
    return f"{sender}.sendto({payload!r}, ({target!r}, {port}))"


def contain(lab: Lab, mode: str, program: str, *allow: str, rules: str = "") -> Machine:
    """Run ``program`` in a container of a guarded machine, and end the guard."""
    back = ["ip", "route", "add", "172.30.7.0/24", "via", "203.0.113.2"]
    lab.services.call(lambda: subprocess.run(back, check=True))
    with machine(lab, mode=mode, allow=allow or ALLOWED, rules=rules) as guarded:
        guarded.run(sys.executable, "-c", CONTAINER, program)
        lab.settle()
        guarded.stop()
    return guarded


UNNAMED = forge.udp(BARE, 9998, NEEDLE, INSIDE)
UNNAMED_TOO = forge.udp(BARE, 9998, b"another-pin", INSIDE)
IPIP = forge.ipv4(BARE, 4, forge.udp(BARE, 9999, NEEDLE, INSIDE), INSIDE)
FRAGMENT = forge.ipv4(BARE, 17, NEEDLE, INSIDE, fragment=185)


def questions(name: str) -> dict[str, bytes]:
    message = forge.question(name)
    stream = len(message).to_bytes(2, "big") + message
    return {
        "udp": forge.udp(RESOLVER, 53, message, INSIDE),
        "tcp": forge.tcp(RESOLVER, 53, stream, INSIDE),
    }


@MODES
@pytest.mark.parametrize(
    ("packet", "reason", "port"),
    [
        pytest.param(UNNAMED, "not-named", 9998, id="to a place that no rule names"),
        pytest.param(IPIP, "protocol", 0, id="a tunnel made by hand"),
        pytest.param(FRAGMENT, "unparsable", 0, id="a later fragment"),
    ],
)
def test_what_is_made_by_hand_is_judged(
    lab: Lab, mode: str, packet: bytes, reason: str, port: int
) -> None:
    guarded = contain(lab, mode, by_hand(packet))
    assert guarded.left(NEEDLE) == (mode == "audit")
    ((_, *seen),) = guarded.seen_by_link()
    assert seen == [BARE, port, reason, "allow" if mode == "audit" else "deny"]


@MODES
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_question_made_by_hand_is_judged_by_its_name(lab: Lab, mode: str, transport: str) -> None:
    guarded = contain(lab, mode, by_hand(questions("the-needle.evil.test")[transport]))
    assert guarded.left(b"the-needle") == (mode == "audit")
    ((name, policy),) = [
        (event["name"], event["policy"]) for event in guarded.events if event["kind"] == "question"
    ]
    assert (name, policy) == ("the-needle.evil.test", "deny")


def test_what_is_no_question_does_not_reach_the_resolver(lab: Lab) -> None:
    packets = [build(RESOLVER, 53, NEEDLE, INSIDE) for build in (forge.udp, forge.tcp)]
    guarded = contain(lab, "block", "\n".join(map(by_hand, packets)))
    assert not guarded.left(NEEDLE)


@MODES
def test_what_is_allowed_may_be_made_by_hand(lab: Lab, mode: str) -> None:
    packets = [*questions("home.test").values(), forge.udp(BARE, 9999, NEEDLE, INSIDE)]
    guarded = contain(lab, mode, "\n".join(map(by_hand, packets)))
    assert guarded.left(NEEDLE) and lab.dns.asked("home.test")
    assert guarded.left(packets[1][20:]), "the segment with the question"
    assert guarded.seen_by_link() == []


@MODES
def test_what_a_containers_sockets_may_do_works(lab: Lab, mode: str) -> None:
    program = "subprocess.run(['curl', '-sS', '-m', '5', 'http://home.test/'], check=True)\n"
    guarded = contain(lab, mode, program + by_socket(BARE, 9999, NEEDLE))
    assert lab.home.connections and guarded.left(NEEDLE)
    assert guarded.seen_by_link() == []


def test_what_a_socket_was_denied_is_not_told_twice(lab: Lab) -> None:
    program = by_socket(BARE, 9998, NEEDLE)
    program += "\nsubprocess.run(['dig', '+short', 'other.test'], check=True)"
    program += f"\nsubprocess.run(['curl', '-sS', '-m', '5', 'http://{HOME[0]}:81/'])"
    guarded = contain(lab, "audit", program)
    assert guarded.left(NEEDLE) and lab.dns.asked("other.test")
    assert guarded.seen_by_link() == []
    asked = [event["name"] for event in guarded.events if event["kind"] == "question"]
    assert asked == ["other.test"]


PYTHON, CURL = (str(Path(path).resolve()) for path in (sys.executable, shutil.which("curl") or ""))


@pytest.mark.parametrize(
    ("program", "made", "leaves"),
    [
        pytest.param(PYTHON, "a socket", True, id="its sockets"),
        pytest.param(CURL, "a socket", False, id="those of another program"),
        # Whose a forwarded packet is nobody knows: the second line lets pass what anybody might.
        pytest.param(CURL, "hand", True, id="made by hand"),
    ],
)
def test_a_rule_for_one_program_on_the_way_out(
    lab: Lab, program: str, made: str, leaves: bool
) -> None:
    rules = f"allow:\n  - {{ip: 'udp://{BARE}:9999', process: {program}}}\n"
    send = by_socket(BARE, 9999, NEEDLE)
    attempt = f"try: {send}\nexcept PermissionError: pass"
    if made == "hand":
        attempt = by_hand(forge.udp(BARE, 9999, NEEDLE, INSIDE))
    guarded = contain(lab, "block", f"{attempt}\n{by_hand(UNNAMED_TOO)}", rules=rules)
    assert guarded.left(NEEDLE) == leaves
    assert not guarded.left(b"another-pin")
    assert [(ip, port) for _, ip, port, *_ in guarded.seen_by_link()] == [(BARE, 9998)]
