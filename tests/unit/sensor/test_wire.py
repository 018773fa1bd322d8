# SPDX-License-Identifier: MIT
"""Which packets the filter lets through. It runs here as the kernel runs it."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from leakstop.sensor import wire

PROGRAM = [struct.unpack("=HBBI", line) for line in wire._assemble(wire._FILTER)]


def accepts(packet: bytes) -> bool:
    """Run the program on a packet: classic BPF, as in net/core/filter.c."""
    a = x = at = 0
    sizes = {0x20: 4, 0x28: 2, 0x30: 1, 0x48: 2, 0x50: 1}
    while True:
        code, if_true, if_false, k = PROGRAM[at]
        at += 1
        if code in sizes:
            start = k + (x if code in (0x48, 0x50) else 0)
            if start + sizes[code] > len(packet):
                return False  # a load from behind the end drops the packet
            a = int.from_bytes(packet[start : start + sizes[code]], "big")
        elif code == 0xB1:
            x = 4 * (packet[k] & 0xF)
        elif code == 0x54:
            a &= k
        elif code in (0x15, 0x45):
            at += if_true if (a == k if code == 0x15 else a & k) else if_false
        else:
            assert code == 0x06
            return k > 0


FOUR = IP(src="192.0.2.1", dst="203.0.113.9")
OPTIONS = IP(src="192.0.2.1", dst="203.0.113.9", options=[Raw(b"\x01" * 8)])
SIX = IPv6(src="2001:db8::1", dst="2001:db8::9")


@pytest.mark.parametrize("network", [FOUR, OPTIONS, SIX])
@pytest.mark.parametrize(
    ("transport", "expected"),
    [
        (TCP(sport=40000, dport=443, flags="S"), True),
        (TCP(sport=40000, dport=443, flags="SEC"), True),
        (TCP(sport=443, dport=40000, flags="SA"), False),
        (TCP(sport=40000, dport=53, flags="PA"), False),
        (UDP(sport=40000, dport=53), True),
        (UDP(sport=53, dport=40000), True),
        (UDP(sport=40000, dport=443), False),
        (UDP(sport=40000, dport=5353), False),
        (ICMP(), False),
    ],
)
def test_what_passes(network, transport, expected):
    assert accepts(bytes(network / transport / Raw(bytes(20)))) == expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("127.0.0.1", "127.0.0.11", True),
        ("127.0.0.11", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.12", False),
    ],
)
def test_dockers_resolver_passes_on_any_port(source, target, expected):
    packet = IP(src=source, dst=target) / UDP(sport=40000, dport=34567) / Raw(b"x")
    assert accepts(bytes(packet)) == expected


def test_a_later_fragment_has_no_ports():
    later = IP(frag=1, proto=17) / Raw(struct.pack("!HH", 40000, 53) + bytes(16))
    assert not accepts(bytes(later))


@pytest.mark.parametrize("data", [b"", b"\x45", bytes(64), b"\x60" + bytes(10)])
def test_what_is_no_packet_does_not_pass(data):
    assert not accepts(data)


def test_no_jump_leaves_the_program():
    for at, (code, if_true, if_false, _) in enumerate(PROGRAM):
        if code in (0x15, 0x45):
            assert at + 1 + max(if_true, if_false) < len(PROGRAM)
    assert PROGRAM[-1][0] == 0x06
