# SPDX-License-Identifier: MIT
"""The kernel takes one plain question for a question, and learns what an answer really says."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from bpf.dns_plane import DnsPlane
from bpf.dns_reference import plain_question
from bpf.harness import wire
from leakstop.bpf.records import Lost
from leakstop.model.verdict import Action, Mode, Reason, RuleRef
from leakstop.policy.rules import NamePlace, Policy, PortRange, Protocol, Reach, Rule

pytestmark = pytest.mark.root

OPT = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
NAME = "home.test"
GONE_S = 90
"""The least that an answer holds: a minute, and grace."""


def rule(name: str, reach: Reach = Reach.EXACT, names: int = 0) -> Rule:
    ref = RuleRef(name, "policy.yml", 1)
    ports = (PortRange(443, 443),)
    place = NamePlace(name, reach)
    return Rule(Action.ALLOW, place, Protocol.TLS, ports, ref, names=names)


NUMBERED = RuleRef("s{0..3}.c.test", "policy.yml", 2)
POLICY = Policy(
    mode=Mode.BLOCK,
    rules=(
        rule(NAME),
        rule("zone.test", Reach.ONE),
        rule("b.test", Reach.DEEP, 2),
        *(replace(rule(f"s{n}.c.test", names=2), ref=NUMBERED) for n in range(4)),
    ),
)


@pytest.fixture(scope="module")
def plane() -> Iterator[DnsPlane]:
    with DnsPlane(POLICY) as made:
        yield made


def question(
    name: str = NAME, qtype: int = 1, flags: int = 0x0100, counts: tuple[int, ...] = (1, 0, 0, 0)
) -> bytes:
    head = struct.pack(">HHHHHH", 0x1234, flags, *counts)
    return head + wire(name) + struct.pack(">HH", qtype, 1)


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c", ttl: int = 300) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def reply(*records: bytes, name: str = NAME, qtype: int = 1) -> bytes:
    return question(name, qtype, 0x8180, (1, len(records), 0, 0)) + b"".join(records)


def a(address: str) -> bytes:
    return record(1, ip_address(address).packed)


@pytest.mark.parametrize(
    "message",
    [
        question(),
        question(name="HOME.test"),
        question(flags=0x0130),
        question(counts=(1, 0, 0, 1)) + OPT,
        question(counts=(1, 0, 0, 1)) + OPT[:-2] + b"\0\x04\0\x0a\0\0",
    ],
)
def test_plain(plane: DnsPlane, message: bytes) -> None:
    asked = plane.ask(message)
    assert asked.judged.applied is Action.ALLOW
    assert (asked.name.lower(), asked.qtype) == (NAME, 1)
    assert plain_question(message)


@pytest.mark.parametrize(
    "message",
    [
        question()[:11],
        question()[:-1],
        question() + b"\0",
        question(counts=(1, 0, 0, 1)),
        question(counts=(1, 0, 0, 1)) + OPT + b"\0",
        question(counts=(1, 0, 0, 1)) + OPT[:-1],
        question(counts=(1, 0, 0, 1)) + OPT[:-1] + b"\x01",
        question(counts=(1, 0, 0, 2)) + OPT + OPT,
        question(counts=(1, 0, 0, 0)) + OPT,
        question(counts=(1, 0, 0, 1)) + wire("x") + OPT[1:],
        question(counts=(0, 0, 0, 0)),
        question(counts=(2, 0, 0, 0)) + question()[12:],
        question(flags=0x8100),
        question(flags=0x0900),
        question(flags=0x0103),
        question(flags=0x0300),
        question()[:-1] + b"\x03",
        question() + bytes(4096),
    ],
)
def test_not_plain(plane: DnsPlane, message: bytes) -> None:
    assert plane.ask(message[:1400]).judged.reason is Reason.UNPARSABLE
    assert plane.ask(message[:1400]).judged.applied is Action.DENY
    assert plain_question(message) is None


def test_every_type_is_ordinary_or_odd(plane: DnsPlane) -> None:
    ordinary = {1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 39, 43, 44, 46, 47, 48, 50, 51, 52, 64, 65}
    ordinary |= {256, 257}
    tried = [*range(300), 4096, 32768, 65280, 65535]
    passed = {
        qtype for qtype in tried if plane.ask(question(qtype=qtype)).judged.applied is Action.ALLOW
    }
    assert passed == ordinary
    assert plane.ask(question(qtype=10)).judged.reason is Reason.PROTOCOL


def test_a_budget(plane: DnsPlane) -> None:
    """Names are counted whole: in whatever case, and not by a hash that could be met."""
    names = ["x.b.test", "X.b.TEST", "y.b.test", "y.b.test", "z.b.test", "x.b.test"]
    reasons = [plane.ask(question(name)).judged.reason for name in names]
    spent = [Reason.BUDGET if name == "z.b.test" else Reason.ALLOW_RULE for name in names]
    assert reasons == spent


def test_numbered_names_share_a_budget(plane: DnsPlane) -> None:
    names = [f"s{number}.c.test" for number in (3, 1, 3, 0, 2, 1, 4)]
    reasons = [plane.ask(question(name)).judged.reason for name in names]
    allowed, spent = Reason.ALLOW_RULE, Reason.BUDGET
    assert reasons == [allowed, allowed, allowed, spent, spent, allowed, Reason.NOT_NAMED]


def test_what_an_answer_teaches(plane: DnsPlane) -> None:
    signed = [a("203.0.113.1"), record(46, bytes(30)), a("203.0.113.2"), record(46, bytes(30))]
    assert plane.hear(reply(*signed), NAME, 1).addresses == ("203.0.113.1", "203.0.113.2")
    alias = record(5, wire("edge.cdn.test"))
    there = record(28, ip_address("2001:db8::1").packed, wire("EDGE.cdn.test"))
    stranger = record(28, ip_address("2001:db8::2").packed)
    chain = reply(alias, there, stranger, qtype=28)
    assert plane.hear(chain, NAME, 28).addresses == ("2001:db8::1",)


def test_more_records_than_an_event_holds(plane: DnsPlane) -> None:
    places = [f"203.0.113.{number}" for number in range(100)]
    heard = plane.hear(reply(*map(a, places)), NAME, 1)
    assert heard.addresses == tuple(places[:64])
    assert all(plane.expires(address) for address in places)


@pytest.mark.parametrize(
    ("name", "qtype", "ident"), [("other.test", 1, 0x1234), (NAME, 28, 0x1234), (NAME, 1, 0x1235)]
)
def test_an_answer_to_another_question(plane: DnsPlane, name: str, qtype: int, ident: int) -> None:
    assert plane.hear(reply(a("192.0.2.77")), name, qtype, ident=ident).addresses == ()
    assert plane.expires("192.0.2.77") == 0


def hint(priority: int, target: bytes, *params: tuple[int, bytes]) -> bytes:
    data = struct.pack(">H", priority) + target
    for key, value in params:
        data += struct.pack(">HH", key, len(value)) + value
    return record(65, data)


FOUR, SIX = ip_address("203.0.113.9").packed, ip_address("2001:db8::9").packed


@pytest.mark.parametrize(
    ("service", "addresses"),
    [
        (hint(1, b"\0", (1, b"\x02h2"), (4, FOUR), (6, SIX)), ("203.0.113.9", "2001:db8::9")),
        (hint(1, b"\0", (4, FOUR + FOUR[:2]), (6, SIX)), ("203.0.113.9", "2001:db8::9")),
        (hint(1, wire("svc.test"), (4, FOUR * 2)), ("203.0.113.9", "203.0.113.9")),
        (hint(0, wire("svc.test"), (4, FOUR)), ()),
        (hint(1, b"\0", (4, b"")), ()),
        (record(65, b"\0\1\0\0\4\0\x40" + FOUR), ()),
        (record(65, b"\0\1" + b"\x3f"), ()),
        (record(65, b"\0"), ()),
    ],
)
def test_service_records(plane: DnsPlane, service: bytes, addresses: tuple[str, ...]) -> None:
    assert plane.hear(reply(service, qtype=65), NAME, 65).addresses == addresses


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(record(1, FOUR, b"\xc0\x2b"), id="pointer to itself, as a second record"),
        pytest.param(record(1, FOUR, b"\xc0\xff"), id="pointer behind the end"),
        pytest.param(record(1, FOUR)[:-1], id="cut in an address"),
        pytest.param(record(1, FOUR)[:8], id="cut in a header"),
        pytest.param(record(1, FOUR)[:10] + b"\0\xff" + FOUR, id="length that lies"),
        pytest.param(record(1, FOUR, wire(".".join(["a" * 60] * 5))), id="name of 304 bytes"),
        pytest.param(record(1, FOUR + b"\0"), id="address of five bytes"),
    ],
)
def test_bad_records_teach_nothing(plane: DnsPlane, bad: bytes) -> None:
    assert plane.hear(reply(bad), NAME, 1).addresses == ()
    before = plane.hear(reply(a("203.0.113.30"), bad), NAME, 1)
    assert before.addresses == ("203.0.113.30",), "what was read before it holds"


def test_names_in_a_ring(plane: DnsPlane) -> None:
    ring = record(5, b"\xc0\x0c")
    assert plane.hear(reply(*[ring] * 120, a("203.0.113.31")), NAME, 1).addresses == (
        "203.0.113.31",
    )


@pytest.mark.parametrize(
    "inside",
    ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.1.2.3"],
)
def test_private_addresses_need_an_exact_rule(plane: DnsPlane, inside: str) -> None:
    address = ip_address(inside)
    qtype = 1 if address.version == 4 else 28
    message = record(qtype, address.packed)
    assert len(plane.hear(reply(message, name=NAME, qtype=qtype), NAME, qtype).addresses) == 1
    below = reply(message, name="x.zone.test", qtype=qtype)
    heard = plane.hear(below, "x.zone.test", qtype)
    assert (heard.addresses, len(heard.refused)) == ((), 1)


@pytest.mark.parametrize(
    "inside",
    [
        *("169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255"),
        *("fe80::1", "ff02::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
    ],
)
def test_no_name_leads_to_these(plane: DnsPlane, inside: str) -> None:
    address = ip_address(inside)
    qtype = 1 if address.version == 4 else 28
    heard = plane.hear(reply(record(qtype, address.packed), qtype=qtype), NAME, qtype)
    assert (heard.addresses, len(heard.refused)) == ((), 1)
    assert plane.expires(inside) == 0


@pytest.mark.parametrize("ttl", [0, 1, 60, 3600])
def test_an_answer_holds_for_its_life_and_a_little_longer(plane: DnsPlane, ttl: int) -> None:
    place = f"198.51.100.{ttl % 251}"
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert plane.hear(reply(record(1, ip_address(place).packed, ttl=ttl)), NAME, 1).ttl == ttl
    left = plane.expires(place) / 1e9 - before
    assert max(ttl, 60) + 30 <= left < max(ttl, 60) + 31
    # A shorter answer later takes nothing away.
    plane.hear(reply(record(1, ip_address(place).packed, ttl=0)), NAME, 1)
    assert plane.expires(place) / 1e9 - before >= max(ttl + 30, GONE_S)


def test_a_full_table_of_addresses() -> None:
    """What is known stays; what is new is denied, and that is said."""
    with DnsPlane(POLICY) as plane:
        assert plane.hear(reply(a("203.0.113.1")), NAME, 1).addresses
        known = plane.expires("203.0.113.1")
        plane.fill_addresses(65_535)
        plane.hear(reply(a("203.0.113.2")), NAME, 1)
        assert plane.expires("203.0.113.2") == 0
        assert plane.expires("203.0.113.1") == known
        assert plane.lost(Lost.ADDRESSES) == 1


def test_a_full_table_of_names() -> None:
    """It holds all budgets together, up to its limit; here the limit is met first."""
    zones = tuple(rule(f"z{number}.test", Reach.ONE, 10_000) for number in range(7))
    with DnsPlane(Policy(mode=Mode.BLOCK, rules=zones)) as plane:
        plane.fill_names(65_535)
        assert plane.ask(question("a.z0.test")).judged.applied is Action.ALLOW
        assert plane.ask(question("b.z0.test")).judged.reason is Reason.BUDGET
        assert plane.lost(Lost.NAMES) == 1
        assert plane.ask(question("a.z0.test")).judged.applied is Action.ALLOW
