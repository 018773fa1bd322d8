# SPDX-License-Identifier: MIT
"""Mutated DNS messages: the kernel reads in them what the reference reads, and comes to an end."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from random import Random

import pytest

from bpf.dns_plane import DnsPlane
from bpf.dns_reference import plain_question, same, taught
from bpf.harness import wire
from fuzz.mistakes import mutate
from fuzz.mutate import fuzz
from leakstop.model.verdict import Mode, Reason
from leakstop.policy.rules import Policy

pytestmark = pytest.mark.root

INPUTS = 2500
NAME, IDENT = "home.test", 0x1234
OPT = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 6) + b"\0\x0a\0\2ab"
UDP_MAX = 1400
"""BPF_PROG_TEST_RUN takes packets up to a page."""


def head(flags: int, *counts: int) -> bytes:
    return struct.pack(">HHHHHH", IDENT, flags, *counts)


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, 300, len(data)) + data


ASKED = wire(NAME) + b"\0\1\0\1"
QUESTIONS = (
    head(0x0100, 1, 0, 0, 0) + ASKED,
    head(0x0120, 1, 0, 0, 1) + ASKED + OPT,
    head(0x0100, 1, 0, 0, 0) + wire(".".join(["a" * 60] * 4)) + b"\0\1\0\1",
    head(0x0100, 1, 0, 0, 0) + wire(".".join("a" * 127)) + b"\0\1\0\1",
)
_HINTS = b"\0\1\0" + b"\0\1\0\3\2h2" + b"\0\4\0\x08" + bytes(range(8)) + b"\0\6\0\x20" + bytes(32)
RECORDS = (
    record(1, bytes((203, 0, 113, 7))),
    record(28, ip_address("2001:db8::7").packed),
    record(5, wire("edge.test")) + record(1, bytes((203, 0, 113, 8)), wire("edge.test")),
    record(5, b"\xc0\x0c"),
    record(65, _HINTS),
    record(65, b"\0\0" + wire("edge.test")) + record(64, _HINTS, wire("edge.test")),
    record(46, bytes(90)),
    record(16, b"\3abc"),
)


def answer(random: Random) -> bytes:
    """A well-formed answer of up to a hundred records."""
    chosen = random.choices(RECORDS, k=random.choice((1, 2, 3, 8, 100)))
    count = sum(1 + (each.count(b"\4edge\4test\0") == 2) for each in chosen)
    return head(0x8180, 1, count, 0, 0) + ASKED + b"".join(chosen)


def compare_question(plane: DnsPlane, message: bytes) -> None:
    """Hold one question against the reference."""
    message = message[:UDP_MAX]
    want, got = plain_question(message), plane.ask(message)
    if want is None:
        assert got.judged.reason is Reason.UNPARSABLE, message.hex()
    else:
        assert got.judged.reason is Reason.NOT_NAMED, message.hex()
        assert (got.name, got.qtype) == want, message.hex()


def compare_answer(plane: DnsPlane, message: bytes) -> None:
    """Hold one answer against the reference."""
    message = message[:4096]
    heard = plane.hear(message, NAME, 1)
    want = sorted(map(same, taught(message, NAME, 1, IDENT)))
    assert sorted((*heard.addresses, *heard.refused)) == want, message.hex()


def test_mutated_messages() -> None:
    with DnsPlane(Policy(mode=Mode.BLOCK)) as plane:

        def compare(random: Random) -> None:
            compare_question(plane, mutate(random, random.choice(QUESTIONS)))
            compare_answer(plane, mutate(random, answer(random)))

        fuzz("messages", INPUTS, compare)


def test_messages_as_they_are() -> None:
    random = Random(1)
    with DnsPlane(Policy(mode=Mode.BLOCK)) as plane:
        for message in QUESTIONS:
            assert plain_question(message)
            compare_question(plane, message)
        for _ in range(20):
            message = answer(random)
            assert taught(message, NAME, 1, IDENT) or len(message) < 200
            compare_answer(plane, message)
