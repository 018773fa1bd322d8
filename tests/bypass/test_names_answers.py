# SPDX-License-Identifier: MIT
"""T19, T22: what an answer may teach, and what it may not.

``home.test`` is allowed. Each forged or odd answer tries to make the collector's address one that
the name leads to; the command then goes there and shows the allowed name.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
from dnslib import AAAA, CNAME, MX, PTR, QTYPE, RD, RR, SRV, A, DNSQuestion, DNSRecord

from bypass.names import wire
from bypass.test_names_questions import POLICY, ask, said
from lab import Lab
from lab.guard import DENIED, Guarded
from lab.network import COLLECTOR, HOME, METADATA, RESOLVER

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

THIEF = COLLECTOR[0]
GO = f"connect|{THIEF}|443|home.test"
TTL_S = 60


def record(name: str, kind: str, data: object, ttl: int = TTL_S) -> RR:
    """One record of an answer."""
    return RR(name, getattr(QTYPE, kind), rdata=data, ttl=ttl)


def answer(lab: Lab, name: str, *records: RR, section: str = "answer") -> None:
    """Let the name server answer every question about ``name`` with these records."""

    def script(_: DNSRecord, reply: DNSRecord) -> bytes:
        add = {"answer": reply.add_answer, "auth": reply.add_auth, "ar": reply.add_ar}[section]
        add(*records)
        packed: bytes = reply.pack()
        return packed

    lab.dns.scripts[name] = script


def reply_with(lab: Lab, change: Callable[[DNSRecord, DNSRecord], None]) -> None:
    """Let the name server answer about ``home.test`` with the thief's address, and ``change``."""

    def script(query: DNSRecord, reply: DNSRecord) -> bytes:
        reply.add_answer(record("home.test", "A", A(THIEF)))
        change(query, reply)
        packed: bytes = reply.pack()
        return packed

    lab.dns.scripts["home.test"] = script


def wrong_id(query: DNSRecord, reply: DNSRecord) -> None:
    reply.header.id = query.header.id ^ 1


def wrong_name(_: DNSRecord, reply: DNSRecord) -> None:
    reply.questions = [DNSQuestion("other.test")]


def wrong_type(_: DNSRecord, reply: DNSRecord) -> None:
    reply.questions = [DNSQuestion("home.test", QTYPE.AAAA)]


def no_reply(_: DNSRecord, reply: DNSRecord) -> None:
    reply.header.qr = 0


@pytest.mark.parametrize("change", [wrong_id, wrong_name, wrong_type, no_reply])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_an_answer_that_nobody_asked_for_teaches_nothing(
    lab: Lab, leakstop: Guard, transport: str, change: Callable[[DNSRecord, DNSRecord], None]
) -> None:
    reply_with(lab, change)
    run = leakstop(ask(f"{transport}|plain|home.test", GO), mode="block", policy=POLICY)
    assert said(run)[1] == "PermissionError"
    assert run.code == DENIED
    assert lab.collector.connections == []


FOREIGN: dict[str, tuple[str, Sequence[RR], str]] = {
    "another-name": ("A", [record("stranger.test", "A", A(THIEF))], "answer"),
    "name-below": ("A", [record("x.home.test", "A", A(THIEF))], "answer"),
    "chain-of-another-name": (
        "A",
        [
            record("stranger.test", "CNAME", CNAME("thief.test")),
            record("thief.test", "A", A(THIEF)),
        ],
        "answer",
    ),
    "additional-section": ("A", [record("home.test", "A", A(THIEF))], "ar"),
    "authority-section": ("A", [record("home.test", "A", A(THIEF))], "auth"),
    "reverse": ("PTR", [record("home.test", "PTR", PTR("collector.test"))], "answer"),
    "address-for-a-text-question": ("TXT", [record("home.test", "A", A(THIEF))], "answer"),
    "address-for-a-service-question": (
        "SRV",
        [
            record("home.test", "SRV", SRV(0, 0, 443, "collector.test")),
            record("home.test", "A", A(THIEF)),
        ],
        "answer",
    ),
    "mail-exchanger": (
        "MX",
        [record("home.test", "MX", MX("collector.test")), record("home.test", "A", A(THIEF))],
        "answer",
    ),
    "other-class": ("A", [RR("home.test", QTYPE.A, rclass=3, rdata=A(THIEF), ttl=60)], "answer"),
    "wrong-length": ("A", [RR("home.test", QTYPE.A, rdata=RD(b"\xcb\0\x71\x42\0"))], "answer"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_records_about_anything_else_teach_nothing(lab: Lab, leakstop: Guard, case: str) -> None:
    qtype, records, section = FOREIGN[case]
    answer(lab, "home.test", *records, section=section)
    kind = "plain" if qtype == "A" else f"type-{qtype}"
    run = leakstop(ask(f"udp|{kind}|home.test", GO), mode="block", policy=POLICY)
    assert said(run)[1] == "PermissionError"
    assert run.code == DENIED
    assert lab.collector.connections == []


def many(count: int, last: str) -> list[RR]:
    """That many addresses, most of them nobody's, with signatures in between."""
    found: list[RR] = []
    for number in range(count - 1):
        found.append(record("home.test", "A", A(f"192.0.2.{number + 1}")))
        if number % 10 == 0:
            found.append(RR("home.test", QTYPE.RRSIG, rdata=RD(bytes(120)), ttl=TTL_S))
    return [*found, record("home.test", "A", A(last))]


GENUINE: dict[str, Sequence[RR]] = {
    "chain": [
        record("home.test", "CNAME", CNAME("edge.cdn.test")),
        record("edge.cdn.test", "CNAME", CNAME("node7.cdn.test")),
        record("node7.cdn.test", "A", A(HOME[0])),
    ],
    "mixed-case": [record("HOME.Test", "A", A(HOME[0]))],
    "sixty-records": many(61, HOME[0]),
    "short-life": [record("home.test", "A", A(HOME[0]), ttl=0)],
}


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("case", GENUINE)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_genuine_answer_teaches(
    lab: Lab, leakstop: Guard, mode: str, case: str, transport: str
) -> None:
    answer(lab, "home.test", *GENUINE[case])
    steps = [f"{transport}|edns|home.test", f"connect|{HOME[0]}|443|home.test"]
    run = leakstop(ask(*steps), mode=mode, policy=POLICY)
    assert said(run) == [[HOME[0]], "ok"]
    assert (run.code, run.findings()) == (0, [])


def service(name: str, priority: int, target: str, *params: tuple[int, bytes]) -> RR:
    """An HTTPS record (RFC 9460)."""
    data = priority.to_bytes(2, "big") + wire(target)
    for key, value in params:
        data += key.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
    return RR(name, QTYPE.HTTPS, rdata=RD(data), ttl=TTL_S)


HINT = ip_address(HOME[0]).packed
HINTS = {
    "alone": [service("home.test", 1, "", (1, b"\x02h2"), (4, HINT))],
    "second": [service("home.test", 1, "edge.cdn.test", (4, b"\xc0\0\x02\x01" + HINT))],
    "behind-an-alias": [
        service("home.test", 0, "edge.cdn.test"),
        service("edge.cdn.test", 1, "", (4, HINT)),
    ],
    "with-ipv6": [service("home.test", 1, "", (4, HINT), (6, ip_address(HOME[1]).packed))],
}


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize("case", HINTS)
def test_hints_of_a_service_record_teach(lab: Lab, leakstop: Guard, mode: str, case: str) -> None:
    answer(lab, "home.test", *HINTS[case])
    steps = ["udp|type-HTTPS|home.test", f"connect|{HOME[0]}|443|home.test"]
    run = leakstop(ask(*steps), mode=mode, policy=POLICY)
    assert said(run)[1] == "ok"
    assert (run.code, run.findings()) == (0, [])


WILDCARD = "version: 1\nallow: '*.zone.test'\n"


@pytest.mark.parametrize(
    ("name", "kind", "inside"),
    [
        ("metadata.zone.test", "A", METADATA),
        ("router.zone.test", "A", "10.0.0.1"),
        ("provider.zone.test", "A", "100.64.0.1"),
        ("mapped.zone.test", "AAAA", f"::ffff:{METADATA}"),
        ("translated.zone.test", "AAAA", "64:ff9b::a9fe:a9fe"),
        ("link.zone.test", "AAAA", "fe80::1"),
        ("local.zone.test", "AAAA", "fd00:ec2::254"),
    ],
)
def test_no_answer_leads_inside(
    lab: Lab, leakstop: Guard, name: str, kind: str, inside: str
) -> None:
    data = A(inside) if kind == "A" else AAAA(tuple(ip_address(inside).packed))
    answer(lab, name, record(name, kind, data), record(name, kind, data))
    case = "plain" if kind == "A" else "type-AAAA"
    steps = [f"udp|{case}|{name}", f"connect|{inside}|443|{name}"]
    run = leakstop(ask(*steps), mode="block", policy=WILDCARD)
    assert run.code == DENIED
    assert said(run)[1] == "PermissionError"
    assert lab.metadata.bytes_received == 0
    (seen,) = run.events("answer")
    assert (seen["addresses"], len(seen["refused"])) == ([], 2)
    listed = leakstop(ask(*steps), mode="audit", policy=WILDCARD)
    assert [event["refused"] for event in listed.events("answer")] == [seen["refused"]]
    for guarded in (run, listed):
        (finding,) = guarded.findings("refused-answer")
        assert finding["destination"] == name
        assert seen["refused"][0] in finding["action_taken"]


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_host_that_is_named_may_be_private(lab: Lab, leakstop: Guard, mode: str) -> None:
    lab.serve("git.corp.test", ["10.9.8.7"])
    route = ["ip", "route", "add", "10.9.8.0/24", "dev", "job0"]
    lab.job.call(lambda: subprocess.run(route, check=True))
    policy = "version: 1\nallow: git.corp.test\n"
    steps = ["udp|plain|git.corp.test", "connect|10.9.8.7|443|git.corp.test"]
    run = leakstop(ask(*steps), mode=mode, policy=policy)
    assert said(run) == [["10.9.8.7"], "ok"]
    assert (run.code, run.findings()) == (0, [])


def test_a_named_host_is_not_the_metadata_service(lab: Lab, leakstop: Guard) -> None:
    lab.dns.zone["home.test"] = [METADATA]
    steps = ["udp|plain|home.test", f"connect|{METADATA}|80"]
    policy = "version: 1\nallow: [home.test, 'http://home.test']\n"
    run = leakstop(ask(*steps), mode="block", policy=policy)
    assert said(run)[1] == "PermissionError"
    assert lab.metadata.bytes_received == 0


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_rule_for_the_address_makes_answers_believed(
    lab: Lab, leakstop: Guard, mode: str
) -> None:
    lab.dns.zone["m.zone.test"] = [METADATA]
    policy = f"version: 1\nallow: ['*.zone.test:80', 'http://{METADATA}']\n"
    steps = ["udp|plain|m.zone.test", f"connect|{METADATA}|80"]
    run = leakstop(ask(*steps), mode=mode, policy=policy)
    assert said(run) == [[METADATA], "ok"]
    assert run.code == 0
    assert [event["refused"] for event in run.events("answer")] == [[]]


def test_a_network_of_ones_own_teaches_nothing(lab: Lab, leakstop: Guard) -> None:
    """In a user namespace anybody can have the resolver's address."""
    forge = Path(__file__).with_name("forged_resolver.py")
    command = (
        f'unshare --user --map-root-user --net "$0" "$1" {RESOLVER} {THIEF} home.test; '
        f'exec "$0" "$2" {RESOLVER} "$3"'
    )
    client = str(forge.with_name("names.py"))
    run = leakstop(
        ["sh", "-c", command, sys.executable, str(forge), client, GO], mode="block", policy=POLICY
    )
    assert f'["{THIEF}"]' in run.stdout, run.stderr
    assert '["PermissionError"]' in run.stdout
    assert run.code == DENIED
    assert lab.collector.connections == []
