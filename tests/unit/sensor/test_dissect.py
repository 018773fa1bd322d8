# SPDX-License-Identifier: MIT
"""From packets to questions and answers. Packets come from anybody, so most of this is abuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRROPT
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from leakstop.sensor.dissect import dissect
from leakstop.sensor.heard import Answered, Asked, Opened

QUERY = DNS(id=7, qd=[DNSQR(qname="API.Example.Test", qtype="A")], ar=[DNSRROPT()])


def reply(*records, qname="api.example.test", ports=(53, 40000), source="192.0.2.53"):
    message = DNS(id=7, qr=1, qd=[DNSQR(qname=qname)], an=list(records))
    packet = IP(src=source, dst="192.0.2.1") / UDP(sport=ports[0], dport=ports[1]) / message
    return dissect(bytes(packet), False)


def test_a_question_keeps_its_case():
    packet = IP(src="192.0.2.1", dst="192.0.2.53") / UDP(sport=40000, dport=53) / QUERY
    assert dissect(bytes(packet), False) == Asked(
        "API.Example.Test", "A", "192.0.2.53", "192.0.2.1", 40000, 7
    )


def test_a_question_over_ipv6():
    query = DNS(id=7, qd=[DNSQR(qname="example.test", qtype=65)])
    packet = IPv6(src="2001:db8::1", dst="2001:db8::53") / UDP(sport=40000, dport=53) / query
    asked = dissect(bytes(packet), True)
    assert asked == Asked("example.test", "HTTPS", "2001:db8::53", "2001:db8::1", 40000, 7)


@pytest.mark.parametrize(
    ("layer", "here", "there"),
    [(IP, "192.0.2.1", "203.0.113.9"), (IPv6, "2001:db8::1", "2001:db8::9")],
)
def test_a_connection_that_begins(layer, here, there):
    raw = bytes(layer(src=here, dst=there) / TCP(sport=40000, dport=443, flags="S"))
    assert dissect(raw, layer is IPv6) == Opened(here, 40000, there, 443)


def test_an_unknown_type_is_written_as_a_number():
    query = DNS(qd=[DNSQR(qname="example.test", qtype=65280)])
    packet = IP() / UDP(sport=40000, dport=53) / query
    assert dissect(bytes(packet), False).qtype == "TYPE65280"


def test_dockers_resolver_is_understood_on_any_port():
    packet = IP(src="127.0.0.1", dst="127.0.0.11") / UDP(sport=40000, dport=34567) / QUERY
    asked = dissect(bytes(packet), False)
    assert asked == Asked("API.Example.Test", "A", "127.0.0.11", "127.0.0.1", 40000, 7)
    other = IP(src="127.0.0.1", dst="127.0.0.12") / UDP(sport=40000, dport=34567) / QUERY
    assert dissect(bytes(other), False) is None


def test_an_answer_with_both_kinds_of_address():
    answer = reply(
        DNSRR(rrname="api.example.test", type="A", rdata="203.0.113.1", ttl=60),
        DNSRR(rrname="API.example.test", type="AAAA", rdata="2001:db8::1", ttl=30),
    )
    assert answer == Answered(
        "api.example.test", ("203.0.113.1", "2001:db8::1"), 30, "192.0.2.53", 40000, 7
    )


def test_aliases_are_followed_along_their_chain():
    answer = reply(
        DNSRR(rrname="api.example.test", type="CNAME", rdata="a.cdn.test", ttl=10),
        DNSRR(rrname="a.cdn.test", type="CNAME", rdata="b.cdn.test", ttl=300),
        DNSRR(rrname="b.cdn.test", type="A", rdata="203.0.113.1", ttl=300),
    )
    assert (answer.addresses, answer.ttl_s) == (("203.0.113.1",), 10)


def test_an_address_of_another_name_is_not_believed():
    assert reply(DNSRR(rrname="other.test", type="A", rdata="203.0.113.66")) is None
    chaos = DNSRR(rrname="api.example.test", rclass=3, type="A", rdata="203.0.113.66")
    assert reply(chaos) is None


def test_an_answer_without_addresses_is_none():
    assert reply() is None
    assert reply(DNSRR(rrname="api.example.test", type="TXT", rdata=b"x")) is None


@pytest.mark.parametrize(
    "packet",
    [
        IP() / UDP(dport=53) / Raw(b"no message"),
        IP() / UDP(dport=53) / Raw(b""),
        IP() / UDP(sport=40000, dport=53) / DNS(qd=[]),
        IP() / UDP(sport=40000, dport=53) / DNS(qd=[DNSQR(), DNSQR(qname="b.test")]),
        # A pointer to itself: a name without an end.
        IP() / UDP(dport=53) / Raw(b"\0\7\1\0\0\1" + bytes(6) + b"\xc0\x0c\0\1\0\1"),
        Raw(b""),
        Raw(b"\x45"),
    ],
)
def test_what_is_no_question_is_none(packet):
    assert dissect(bytes(packet), False) is None


ANSWER = bytes(
    IP(src="127.0.0.11", dst="192.0.2.1")
    / UDP(sport=53, dport=40000)
    / DNS(
        id=7,
        qr=1,
        qd=[DNSQR(qname="api.example.test")],
        an=[
            DNSRR(rrname="api.example.test", type="CNAME", rdata="a.cdn.test"),
            DNSRR(rrname="a.cdn.test", type="A", rdata="203.0.113.1"),
        ],
        ar=[DNSRROPT()],
    )
)


@given(
    st.lists(
        st.tuples(st.integers(20, len(ANSWER) - 1), st.integers(0, 255)), min_size=1, max_size=8
    ),
    st.integers(0, len(ANSWER)),
)
def test_no_packet_raises(changes, length):
    broken = bytearray(ANSWER)
    for place, value in changes:
        broken[place] = value
    dissect(bytes(broken[:length]), False)
