# SPDX-License-Identifier: MIT
"""Payload in the open: nothing is missed between packets, and nothing is found twice."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from random import Random

import pytest

from bpf.harness import compiled, run
from leakstop.bpf import fill, records
from leakstop.bpf.libbpf import Object, library
from leakstop.bpf.ring import Ring
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import AddressPlace, Home, Policy, PortRange, Protocol, Rule
from leakstop.policy.tables import compile_tables
from leakstop.secrets.encodings import Needle
from leakstop.secrets.needles import build

pytestmark = pytest.mark.root

ETHERNET = 14
TCP, UDP, SYN = 6, 17, 2
AWAY, HOME = "203.0.113.66", "203.0.113.20"
COPY = 5000
RANDOM = Random(6)
SECRET = RANDOM.randbytes(20).hex().encode()
LONG = RANDOM.randbytes(1000).hex().encode()
"""Its core is somewhere in it."""
FIRST = 1_000


class PayloadArgs(ctypes.Structure):
    """``struct payload_args``, which begins with ``struct packet``"""

    _fields_ = (
        ("source", ctypes.c_uint8 * 16),
        ("target", ctypes.c_uint8 * 16),
        ("source_port", ctypes.c_uint16),
        ("target_port", ctypes.c_uint16),
        ("payload", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
        ("seq", ctypes.c_uint32),
        ("protocol", ctypes.c_uint8),
        ("odd", ctypes.c_uint8),
        ("tcp_flags", ctypes.c_uint8),
        ("pad", ctypes.c_uint8),
        ("fragment", ctypes.c_uint16),
        ("pad2", ctypes.c_uint16),
        ("begin", ctypes.c_uint32),
        ("result", ctypes.c_uint32),
        ("sealed", ctypes.c_uint32),
        ("hits", ctypes.c_uint32),
        ("begun", ctypes.c_uint32),
        ("pad3", ctypes.c_uint32),
        ("sent", ctypes.c_uint64),
    )


@dataclass
class Sender:
    """One socket, whose packets are read by the kernel's code."""

    loaded: Object
    target: str = AWAY
    protocol: int = TCP
    begins: bool = True

    def send(self, data: bytes, seq: int = 0, flags: int = 0) -> PayloadArgs:
        """Read one packet."""
        args = PayloadArgs(
            payload=ETHERNET,
            len=len(data),
            seq=seq % 2**32,
            target_port=9000,
            protocol=self.protocol,
            tcp_flags=flags,
            begin=self.begins,
        )
        args.target[:] = fill.mapped(self.target)
        self.begins = False
        done = run(self.loaded, "payload_packet", "payload_io", args, bytes(ETHERNET) + data)
        assert isinstance(done, PayloadArgs)
        return done

    def stream(self, *pieces: bytes, first: int = FIRST) -> list[int]:
        """Send pieces in order, from ``first``; one that is refused is the last."""
        results = []
        for piece in pieces:
            results.append(self.send(piece, first).result)
            if not results[-1]:
                break
            first += len(piece)
        return results


@pytest.fixture(scope="module")
def loaded() -> Iterator[Object]:
    """A secret with one home; in audit, so that nothing but the secret is a reason."""
    ref = RuleRef("home", "policy.yml")
    home = AddressPlace(ip_network(HOME))
    rule = Rule(Action.ALLOW, home, Protocol.TCP, (PortRange(9000, 9000),), ref)
    policy = Policy(rules=(rule,), homes={"S": Home(False, (rule,), (HOME,))})
    tables, needles = (
        compile_tables(policy),
        build([Needle(text, "S", "raw") for text in (SECRET, LONG)]),
    )
    opened = Object(library(), compiled("payload"))
    fill.configure(opened, policy, tables, needles, signal=False, copy=COPY)
    opened.load()
    fill.fill(opened, policy, tables, needles, ())
    yield opened
    opened.close()


DECOYS = 12
"""More secrets than are told apart in one packet."""


@pytest.fixture
def crowded() -> Iterator[tuple[Object, list[bytes]]]:
    """A secret with one home, and then others that belong elsewhere."""
    known = {"S": (HOME, SECRET)}
    known |= {f"D{number}": (AWAY, RANDOM.randbytes(20).hex().encode()) for number in range(DECOYS)}
    rules = {
        place: Rule(
            Action.ALLOW,
            AddressPlace(ip_network(place)),
            Protocol.TCP,
            (PortRange(9000, 9000),),
            RuleRef(place, "policy.yml"),
        )
        for place in (HOME, AWAY)
    }
    homes = {name: Home(False, (rules[place],), (place,)) for name, (place, _) in known.items()}
    policy = Policy(rules=tuple(rules.values()), homes=homes)
    tables = compile_tables(policy)
    needles = build([Needle(value, name, "raw") for name, (_, value) in known.items()])
    opened = Object(library(), compiled("payload"))
    fill.configure(opened, policy, tables, needles, signal=False)
    opened.load()
    fill.fill(opened, policy, tables, needles, ())
    yield opened, [value for _, value in known.values()]
    opened.close()


def test_a_secret_in_a_crowd_of_others(crowded: tuple[Object, list[bytes]]) -> None:
    """Whoever has secrets of his own cannot hide one behind them; those are found later."""
    opened, (mine, *others) = crowded
    assert Sender(opened).send(b" ".join(others), FIRST).result == 1
    for order in ([mine, *others], [*others, mine]):
        assert Sender(opened).send(b" ".join(order), FIRST).result == 0


@pytest.fixture
def sender(loaded: Object) -> Sender:
    return Sender(loaded)


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_a_secret_in_two_pieces(loaded: Object, protocol: int, cut: int) -> None:
    noise = RANDOM.randbytes(cut)
    sender = Sender(loaded, protocol=protocol)
    assert sender.stream(noise + SECRET[:cut], SECRET[cut:] + noise) == [1, 0]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 39])
@pytest.mark.parametrize("before", [0, 1, 127, 128, 129, 3000])
def test_a_secret_in_many_pieces(sender: Sender, before: int, size: int) -> None:
    assert sender.send(RANDOM.randbytes(before), FIRST).result == 1 if before else True
    pieces = [SECRET[at : at + size] for at in range(0, len(SECRET), size)]
    assert sender.stream(*pieces, first=FIRST + before) == [1] * (len(pieces) - 1) + [0]


def test_sequence_numbers_wrap(sender: Sender) -> None:
    assert sender.stream(SECRET[:30], SECRET[30:], first=2**32 - 10) == [1, 0]


def test_data_in_the_syn(sender: Sender) -> None:
    assert sender.send(SECRET[:30], FIRST, SYN).result == 1
    assert sender.send(SECRET[30:], FIRST + 31).result == 0


def test_what_was_refused_comes_again_in_other_pieces(sender: Sender) -> None:
    assert sender.stream(SECRET[:20], SECRET[20:]) == [1, 0]
    first = FIRST + 20
    assert sender.send(SECRET[20:], first).result == 0
    assert sender.send(SECRET[20:39], first).result == 1
    assert sender.send(SECRET[20:], first).result == 0, "old and new bytes in one segment"
    assert sender.send(SECRET[39:], first + 19).result == 0


@pytest.mark.parametrize("again", [1, 10, 30, 200])
def test_what_is_sent_again_leaves_no_hole(sender: Sender, again: int) -> None:
    noise = RANDOM.randbytes(300)
    text = noise + SECRET
    assert sender.send(text[:320], FIRST).result == 1
    assert sender.send(text[:100], FIRST).result == 1, "a retransmission"
    assert sender.send(text[320 - again : 330], FIRST + 320 - again).result == 1
    assert sender.send(text[330:], FIRST + 330).result == 0


def test_behind_a_gap_reading_begins_anew(sender: Sender) -> None:
    assert sender.send(SECRET[:20], FIRST).result == 1
    assert sender.send(SECRET[20:], FIRST + 2000).result == 1, "no secret stands there"
    assert sender.send(b"-" + SECRET, FIRST + 4000).result == 0


@pytest.mark.parametrize("before", [0, 1, 5000])
def test_what_has_left_of_a_long_secret_is_known(sender: Sender, before: int) -> None:
    """Its core may stand in a packet of which nothing has left before."""
    first = FIRST
    for at in range(0, before, 2500):
        noise = RANDOM.randbytes(min(2500, before - at))
        assert sender.send(noise, first).result == 1
        first += len(noise)
    done = sender.send(b"--" + LONG, first)
    assert (done.result, done.begun) == (0, 0)
    start = Needle(LONG, "S", "raw").start
    assert start >= 8, "made up so"
    assert sender.send(LONG[: start - 4], first).result == 1
    done = sender.send(LONG[start - 4 :], first + start - 4)
    assert (done.result, done.begun) == (0, 1)


def test_at_home_it_passes_and_is_found_once(loaded: Object) -> None:
    sender = Sender(loaded, HOME)
    done = sender.send(b"--" + SECRET, FIRST)
    assert (done.result, done.hits) == (1, 1)
    done = sender.send(b"and no secret", FIRST + 42)
    assert (done.result, done.hits) == (1, 0), "the tail was looked through before"


def test_datagrams_to_another_peer_begin_anew(loaded: Object) -> None:
    sender = Sender(loaded, protocol=UDP)
    assert sender.send(SECRET[:20]).result == 1
    sender.begins = True  # as on_payload() says when the target is another one
    assert sender.send(SECRET[20:]).result == 1


@pytest.mark.parametrize(
    ("pieces", "sealed"),
    [
        ([b"\x16\x03\x01\x02\x00"], True),
        ([b"\x16", b"\x03\x01"], True),
        ([b"\x16\x04\x01"], False),
        ([b"\x16", b"\x04"], False),
        ([b"x\x16\x03"], False),
        ([b"x", b"\x16\x03"], False),
    ],
)
def test_what_begins_as_tls_is_not_read(sender: Sender, pieces: list[bytes], sealed: bool) -> None:
    first = FIRST
    for piece in pieces:
        done = sender.send(piece, first)
        first += len(piece)
    assert bool(done.sealed) is sealed


def test_the_first_bytes_are_handed_on(loaded: Object) -> None:
    """Each once, whatever is sent again, and no more than was asked for."""
    pieces: list[tuple[int, bytes]] = []

    def take(address: int, size: int) -> None:
        event = records.EventPlaintext()
        ctypes.memmove(ctypes.addressof(event), address, min(size, ctypes.sizeof(event)))
        start = ctypes.addressof(event) + records.EventPlaintext.bytes.offset
        pieces.append((event.offset, ctypes.string_at(start, event.len)))

    sender = Sender(loaded)
    ring = Ring(library(), loaded.map("plaintexts"), take)
    try:
        ring.consume()
        pieces.clear()  # of other tests
        text = RANDOM.randbytes(3 * 2500)
        assert sender.stream(text[:2500], text[2500:3000]) == [1, 1]
        assert sender.send(text[:2500], FIRST).result == 1
        assert sender.send(text[2900:4900], FIRST + 2900).result == 1
        assert sender.send(text[4900:], FIRST + 4900).result == 1
        ring.consume()
    finally:
        ring.close()
    assert [offset for offset, _ in pieces] == [0, 2500, 3000, 4900]
    assert b"".join(piece for _, piece in pieces) == text[:COPY]
