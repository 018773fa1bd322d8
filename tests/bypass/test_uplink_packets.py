# SPDX-License-Identifier: MIT
"""Packets past the sockets of a machine: packet sockets, tun devices, tunnels, new interfaces."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from lab import Lab, forge
from lab.machine import Machine, machine
from lab.network import BARE

pytestmark = pytest.mark.root

JOB = "203.0.113.2"
ALLOWED = f"udp://{BARE}:9999"
NEEDLE = b"the-needle"
MODES = pytest.mark.parametrize("mode", ["audit", "block"])


def _hardware(device: str) -> str:
    shown = subprocess.check_output(["ip", "-o", "link", "show", device], text=True)
    return shown.partition("link/ether ")[2].split()[0]


def by_packet_socket(lab: Lab, device: str = "job0", far: str = "service0") -> str:
    hardware = lab.services.call(lambda: _hardware(far))
    packet = forge.udp(BARE, 9999, NEEDLE, JOB)
    return f"{forge.source()}\nsend_frame({device!r}, {packet!r}, {hardware!r})"


BY_SOCKET = f"""\
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto({NEEDLE!r}, ({BARE!r}, 9999))
"""

BY_TUN = f"""\
{forge.source()}
import fcntl, os, subprocess, time
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun9", 0x1001))  # IFF_TUN, IFF_NO_PI
open("/proc/sys/net/ipv4/ip_forward", "w").write("1")
for words in ("address add 172.30.8.1/24 dev tun9", "link set tun9 up"):
    subprocess.run(["ip", *words.split()], check=True)
os.write(tun, udp({BARE!r}, 9999, {NEEDLE!r}, "172.30.8.2"))
time.sleep(0.2)
"""

BY_VXLAN = f"""\
import socket, subprocess, time
for words in ("link add vx9 type vxlan id 7 remote {BARE} dstport 9999 dev job0",
              "address add 10.99.0.1/24 dev vx9", "link set vx9 up",
              "neighbour replace 10.99.0.2 lladdr 02:00:00:00:00:02 dev vx9"):
    subprocess.run(["ip", *words.split()], check=True)
time.sleep(0.2)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto({NEEDLE!r}, ("10.99.0.2", 7))
time.sleep(0.2)
"""
INNER = "udp://10.99.0.2:7"


def attempt(lab: Lab, mode: str, program: str, allow: Sequence[str]) -> Machine:
    with machine(lab, mode=mode, allow=allow) as guarded:
        guarded.python(program)
        lab.settle()
        guarded.stop()
    return guarded


@MODES
def test_a_packet_socket_sends_nothing_off_the_machine(lab: Lab, mode: str) -> None:
    guarded = attempt(lab, mode, by_packet_socket(lab), [ALLOWED])
    assert guarded.left(NEEDLE) == (mode == "audit")
    applied = "allow" if mode == "audit" else "deny"
    assert guarded.seen_by_link() == [("udp", BARE, 9999, "protocol", applied)]


PAST_THE_PROGRAM = """\
import errno, socket, struct
ring, memory = struct.pack("=4I", 4096, 1, 2048, 2), bytes(32)
for family, level, option, value in (
    (socket.AF_PACKET, 263, 20, struct.pack("=i", 1)),  # SOL_PACKET, PACKET_QDISC_BYPASS
    (socket.AF_PACKET, 263, 13, ring),                  # PACKET_TX_RING
    (44, 283, 4, memory),                               # AF_XDP, SOL_XDP, XDP_UMEM_REG
):
    with socket.socket(family, socket.SOCK_RAW) as made:
        try: made.setsockopt(level, option, value)
        except OSError as error: print(errno.errorcode[error.errno])
        else: print("set")
"""


@pytest.mark.parametrize(
    ("mode", "told"), [("audit", ["set", "set", "EINVAL"]), ("block", ["EPERM"] * 3)]
)
def test_nothing_gets_past_the_program_on_the_interface(
    lab: Lab, mode: str, told: list[str]
) -> None:
    """Past the queue, out of shared memory, straight to the driver: refused as it is asked for."""
    with machine(lab, mode=mode) as guarded:
        assert guarded.python(PAST_THE_PROGRAM).split() == told


OTHER_FRAME = f"""\
import socket
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("job0", 0x88B5))  # a protocol for experiments (IEEE 802)
try: raw.send(b"\\xff" * 6 + bytes(6) + b"\\x88\\xb5" + {NEEDLE!r})
except OSError as error: print(error)
"""


@MODES
def test_what_is_not_ip_does_not_leave_either(lab: Lab, mode: str) -> None:
    guarded = attempt(lab, mode, OTHER_FRAME, [ALLOWED])
    assert guarded.left(NEEDLE) == (mode == "audit")
    ((_, _, port, reason, _),) = guarded.seen_by_link()
    assert (port, reason) == (0, "unparsable")


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_what_is_allowed_works_and_is_judged_once(lab: Lab, family: str) -> None:
    program = f"import subprocess\nsubprocess.run(['curl', '-sS', '{family}', '-m', '5', "
    guarded = attempt(lab, "block", program + "'https://home.test/'], check=True)", ["home.test"])
    assert len(lab.home.connections) == 1
    assert guarded.seen_by_link() == []


@MODES
def test_an_ordinary_socket_does(lab: Lab, mode: str) -> None:
    guarded = attempt(lab, mode, BY_SOCKET, [ALLOWED])
    assert guarded.left(NEEDLE)
    assert lab.collector.received(NEEDLE)
    assert guarded.seen_by_link() == []


@MODES
@pytest.mark.parametrize(("program", "rules"), [(BY_TUN, []), (BY_VXLAN, [INNER])])
def test_what_a_tunnel_makes_is_judged_by_where_it_goes(
    lab: Lab, mode: str, program: str, rules: list[str]
) -> None:
    guarded = attempt(lab, mode, program, rules)
    assert guarded.left(NEEDLE) == (mode == "audit")
    applied = "allow" if mode == "audit" else "deny"
    assert guarded.seen_by_link() == [("udp", BARE, 9999, "not-named", applied)]


@MODES
@pytest.mark.parametrize(("program", "rules"), [(BY_TUN, []), (BY_VXLAN, [INNER])])
def test_a_tunnel_to_an_allowed_place_works(
    lab: Lab, mode: str, program: str, rules: list[str]
) -> None:
    guarded = attempt(lab, mode, program, [ALLOWED, *rules])
    assert guarded.left(NEEDLE)
    assert guarded.seen_by_link() == []


@MODES
@pytest.mark.parametrize("program", [by_packet_socket, lambda *_: BY_SOCKET])
def test_an_interface_that_appears_later_is_an_uplink_too(
    lab: Lab, mode: str, program: object
) -> None:
    with machine(lab, mode=mode, allow=[ALLOWED]) as guarded:
        script = f"link add job1 type veth peer name service1 netns {lab.services.path}\n"
        lab.configure(lab.job, script + f"link set job1 up\nroute replace {BARE}/32 dev job1\n")
        lab.configure(lab.services, "link set service1 up\n")
        guarded.run("sleep", "0.3")
        assert callable(program)
        by_hand = program is by_packet_socket
        guarded.python(program(lab, "job1", "service1"))
        lab.settle()
        assert guarded.left(NEEDLE) == (mode == "audit" or not by_hand)
        guarded.stop()
    assert bool(guarded.seen_by_link()) == by_hand


REFUSED = """\
import socket
for where in (("203.0.113.2", 4444), ("2001:db8::2", 4444)):
    try: socket.create_connection(where, 2)
    except ConnectionRefusedError: print("refused")
"""


def test_what_the_kernel_itself_answers_comes_back(lab: Lab) -> None:
    with machine(lab, mode="block"):
        done = lab.services.call(
            lambda: subprocess.run(["python3", "-c", REFUSED], capture_output=True, text=True)
        )
    assert done.stdout == "refused\nrefused\n", done.stderr
