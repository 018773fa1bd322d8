# SPDX-License-Identifier: MIT
"""Packets from anybody, for the portable sensor."""

from __future__ import annotations

import json
from ipaddress import ip_address
from random import Random

from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from fuzz.mutate import bend, fuzz
from leakstop.model.codec import to_json
from leakstop.sensor.dissect import dissect
from leakstop.sensor.heard import Answered

_QUESTION = DNSQR(qname="a.b.example.test")
_ALIAS = DNSRR(rrname="a.b.example.test", type="CNAME", rdata="c.test")
_ADDRESSES = [DNSRR(rrname="c.test", rdata=f"192.0.2.{number}") for number in range(40)]
PACKETS = [
    bytes(IP(src="192.0.2.1", dst="192.0.2.53") / UDP(sport=4000, dport=53) / DNS(qd=[_QUESTION])),
    bytes(
        IP(src="192.0.2.53", dst="192.0.2.1")
        / UDP(sport=53, dport=4000)
        / DNS(qr=1, qd=[_QUESTION], an=[_ALIAS, *_ADDRESSES])
    ),
    bytes(IPv6(dst="2001:db8::1") / UDP(sport=53, dport=9) / DNS(qr=1, qd=[_QUESTION])),
    bytes(IP(dst="203.0.113.9") / TCP(sport=4000, dport=443, flags="S")),
]
WORDS = [
    b"\xc0\x0c", b"\xc0\xff", b"\xff\xff", b"\0", b"\x3f" + b"a" * 63, b"\0\x01\0\x01", b"\0\x1c",
    b"\xc0" * 40, b"\0\xff\0\xff\0\xff", b"\x45", b"\x60", b"\x01" * 30,
]  # fmt: skip


def test_packets() -> None:
    def take(random: Random) -> None:
        message = dissect(bend(random, PACKETS, WORDS), random.random() < 0.4)
        json.dumps(to_json(message))
        if isinstance(message, Answered):
            assert all(ip_address(address) for address in message.addresses)

    fuzz("packets", 600, take)
