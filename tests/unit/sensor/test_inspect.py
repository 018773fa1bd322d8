# SPDX-License-Identifier: MIT
"""The inspector with a ring that is filled by hand: what it says, to whom, and what it keeps.

That the kernel fills the ring is in ``tests/lab/test_inspect.py``.
"""

from __future__ import annotations

import base64
import ctypes
import gzip
import json
import os
import secrets
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lab import tokens
from leakstop.bpf import records
from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.coverage import Loss
from leakstop.model.event import (
    Answer,
    Connect,
    Event,
    Exec,
    Exit,
    Fork,
    SecretFound,
    SecretHit,
    ShapeSeen,
    StreamSeen,
    TlsSeen,
    Write,
)
from leakstop.model.flow import Stream, Transport
from leakstop.model.verdict import Action, Carriage, Leak, Mode, Reason
from leakstop.policy.rules import Home, Policy
from leakstop.secrets.inventory import Secret
from leakstop.sensor import inspect, peers
from leakstop.sensor.inspect import Inspector
from plans import plan_of
from unit.secrets.wraps import chunked, post
from unit.sensor.watching import POLICY, rule

TOKEN = Secret("TOKEN", secrets.token_hex(20).encode())
PLACED = Secret("PLACED", tokens.npm().value.encode())
HOME_IP, OTHER_IP = "198.51.100.10", "203.0.113.9"
PID, OBJECT, COOKIE = 100, 0x7F00_0000_1000, 77


class Ring:
    """Holds records until they are asked for."""

    def __init__(self, take: Callable[[int, int], None]) -> None:
        self._take = take
        self._reading, self._writing = os.pipe()
        self.records: list[bytes] = []

    def put(self, record: bytes) -> None:
        self.records.append(record)

    def fileno(self) -> int:
        return self._reading

    def consume(self) -> None:
        for record in self.records:
            buffer = ctypes.create_string_buffer(record, len(record))
            self._take(ctypes.addressof(buffer), len(record))
        self.records.clear()

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class Bench:
    """An inspector, and what to feed it with."""

    def __init__(self, policy: Policy = POLICY) -> None:
        known = (TOKEN, PLACED)
        plan = plan_of(policy, known)
        self.ring: Ring
        self.watched: dict[int, int] = {}
        self.inspector = Inspector(plan, self._open, lambda: plan.needles, self.watched.__setitem__)

    def _open(self, take: Callable[[int, int], None]) -> Ring:
        self.ring = Ring(take)
        return self.ring

    def see(self, *events: Event) -> None:
        for event in events:
            assert tuple(self.inspector.see(event)) == ()

    def piece(
        self,
        data: bytes,
        offset: int = 0,
        *,
        pid: int = PID,
        stream: int = OBJECT,
        channel: Channel = Channel.TLS,
        port: int = 0,
        ts_ns: int = 2,
    ) -> None:
        for at in range(0, len(data), records.PLAINTEXT_COPY):
            part = data[at : at + records.PLAINTEXT_COPY]
            record = records.EventPlaintext(
                stream=stream, offset=offset + at, len=len(part), port=port
            )
            record.head.kind, record.head.pid = records.Kind.PLAINTEXT, pid
            record.head.ts = ts_ns
            record.channel, record.library = tuple(Channel).index(channel), 1
            if channel is not Channel.TLS:
                record.library = 0
                record.ip[10:16] = bytes((255, 255, 203, 0, 113, 9))
            head = ctypes.string_at(ctypes.addressof(record), records.EventPlaintext.bytes.offset)
            self.ring.put(head + part)

    def all(self, patience_s: float = 1.0) -> list[Event]:
        """What is said until nothing is under way any more."""
        events: list[Event] = []
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            events += self.inspector.follow()
            if (
                not any(sent.fresh for sent in self.inspector._assembly)
                and not self.inspector._work
            ):
                break
            time.sleep(0.005)
        return events

    def ended(self, pid: int = PID) -> list[Event]:
        self.see(Exit(9, pid, 0))
        return self.all()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.inspector.close()


def seen(name: str = "named.test", ip: str = OTHER_IP, **changes: object) -> StreamSeen:
    event = StreamSeen(
        1,
        PID,
        ip,
        443,
        Stream.TLS,
        name,
        443,
        Action.ALLOW,
        Action.ALLOW,
        Reason.ALLOW_RULE,
        COOKIE,
    )
    return replace(event, **changes)  # type: ignore[arg-type]


def led(name: str = "named.test", ip: str = OTHER_IP) -> Answer:
    return Answer(1, name, (ip,), 60)


def tls(name: str = "named.test") -> TlsSeen:
    return TlsSeen(1, PID, Library.OPENSSL, name, OBJECT)


def wrapped(secret: Secret = PLACED) -> bytes:
    inside = json.dumps({"env": base64.b64encode(b"KEY=" + secret.value).decode()}).encode()
    return post(gzip.compress(inside), b"Content-Encoding: gzip\r\n")


def test_a_placed_secret_in_gzip_to_a_wrong_host(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    bench.piece(wrapped())
    assert bench.inspector.follow() == [], "it has only just been sent"
    time.sleep(inspect.QUIET_S)
    (write,) = bench.all()
    assert isinstance(write, Write)
    assert write.hits == (SecretHit("PLACED", "gzip > base64"),)
    assert (write.ip, write.port, write.name) == (OTHER_IP, 443, "named.test")
    assert (write.tie, write.library, write.cookie) == (Tie.NAME, Library.OPENSSL, COOKIE)
    assert (write.late, write.applied, write.killed) == (True, Action.ALLOW, False)
    assert (write.policy, write.carriage, write.reason) == (
        Action.ALLOW,
        Carriage.KILL,
        Reason.LEAK,
    )
    assert (write.object, write.size) == (OBJECT, len(wrapped()))
    assert bench.all() == [], "once"


@pytest.mark.parametrize(
    ("mode", "leak", "carriage"),
    [
        (Mode.AUDIT, Leak.KILL, Carriage.NOTE),
        (Mode.BLOCK, Leak.KILL, Carriage.KILL),
        (Mode.BLOCK, Leak.FAIL, Carriage.FAIL),
    ],
)
def test_it_is_judged_by_the_same_table(mode: Mode, leak: Leak, carriage: Carriage) -> None:
    bench = Bench(replace(POLICY, mode=mode, leak=leak))
    bench.see(led(), seen(), tls())
    bench.piece(wrapped(TOKEN))
    (write,) = bench.ended()
    assert isinstance(write, Write) and write.carriage is carriage
    bench.inspector.close()


def test_at_home_nothing_is_said(bench: Bench) -> None:
    bench.see(led("home.test", HOME_IP), seen("home.test", HOME_IP), tls("home.test"))
    bench.piece(wrapped())
    assert bench.ended() == []


@pytest.mark.parametrize("name", ["home.test", "HOME.test", ""])
def test_a_home_whose_stream_nobody_told_of(bench: Bench, name: str) -> None:
    """What may pass is not reported. The object's name, or the request's, tells the address."""
    for host, ip in (("home.test", HOME_IP), ("named.test", OTHER_IP)):
        made = Connect(
            1, PID, Transport.TCP, ip, 443, "connect", Action.ALLOW, Action.ALLOW, Reason.ALLOW_RULE
        )
        bench.see(led(host, ip), made)
    bench.see(tls(name))
    bench.piece(b"POST / HTTP/1.1\r\nHost: home.test\r\n\r\n" + wrapped())
    assert bench.ended() == []


def test_what_the_kernel_has_said_is_not_said_again(bench: Bench) -> None:
    said = Write(
        1, PID, Channel.TLS, Transport.TCP, OTHER_IP, 443, "named.test", Tie.NAME, Library.OPENSSL,
        9, Action.ALLOW, Action.DENY, Reason.LEAK, Carriage.KILL,
        (SecretHit("PLACED", "base64"),), object=OBJECT,
    )  # fmt: skip
    bench.see(led(), seen(), tls(), said)
    bench.piece(post(base64.b64encode(b"KEY=" + PLACED.value)))
    assert bench.ended() == []


def test_what_lies_open_is_the_kernels_to_judge(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    bench.piece(post(PLACED.value))
    assert bench.ended() == []


def test_nor_is_it_put_together_once_more(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    bench.piece(b"GET / HTTP/1.1\r\nHost: named.test\r\nX-Token: " + PLACED.value + b"\r\n\r\n")
    bench.piece(post(b"a=1&token=" + PLACED.value), 4000)
    assert bench.ended() == []


# -- where to --------------------------------------------------------------------------


def test_plain_tcp_knows_its_socket(bench: Bench) -> None:
    bench.see(Connect(1, PID, Transport.TCP, OTHER_IP, 80, "connect", Action.DENY, Action.ALLOW,
                      Reason.NOT_NAMED))  # fmt: skip
    bench.piece(wrapped(TOKEN), stream=COOKIE, channel=Channel.TCP, port=80)
    (write,) = bench.ended()
    assert isinstance(write, Write)
    assert (write.ip, write.port, write.cookie, write.tie) == (OTHER_IP, 80, COOKIE, Tie.SOCKET)
    assert (write.channel, write.transport) == (Channel.TCP, Transport.TCP)
    assert (write.carriage, write.library, write.object) == (Carriage.KILL, Library.NONE, 0)


def test_datagrams(bench: Bench) -> None:
    bench.piece(gzip.compress(TOKEN.value), stream=COOKIE, channel=Channel.UDP, port=9)
    (write,) = bench.ended()
    assert isinstance(write, Write)
    assert (write.transport, write.channel) == (Transport.UDP, Channel.UDP)


def test_an_object_without_a_name_is_for_the_host_of_its_requests(bench: Bench) -> None:
    bench.see(led("home.test", HOME_IP), led(), seen("home.test", HOME_IP), seen(), tls(""))
    bench.piece(wrapped().replace(b"Host: x.test", b"Host: home.test"))
    assert bench.ended() == []


def test_and_without_any_for_the_worst(bench: Bench) -> None:
    bench.see(led("home.test", HOME_IP), led(), seen("home.test", HOME_IP), seen(), tls(""))
    bench.piece(wrapped())
    (write,) = bench.ended()
    assert isinstance(write, Write)
    assert (write.tie, write.name, write.carriage) == (Tie.FLOWS, "named.test", Carriage.KILL)


def test_a_name_is_not_overruled_by_a_header(bench: Bench) -> None:
    bench.see(led("home.test", HOME_IP), led(), seen("home.test", HOME_IP), seen(), tls())
    bench.piece(wrapped().replace(b"Host: x.test", b"Host: home.test"))
    (write,) = bench.ended()
    assert isinstance(write, Write) and (write.tie, write.name) == (Tie.NAME, "named.test")


def test_a_child_writes_to_its_parents_connection(bench: Bench) -> None:
    bench.see(led(), seen(pid=PID - 1), Fork(1, PID, PID - 1), tls())
    bench.piece(wrapped())
    (write,) = bench.ended()
    assert isinstance(write, Write) and write.tie is Tie.NAME


def test_without_a_connection_it_is_only_told(bench: Bench) -> None:
    bench.see(tls())
    bench.piece(wrapped())
    (write,) = bench.ended()
    assert isinstance(write, Write)
    assert (write.ip, write.tie, write.carriage) == ("", Tie.NONE, Carriage.NONE)
    assert (write.name, write.reason) == ("named.test", Reason.LOCAL)


# -- pieces ----------------------------------------------------------------------------


def test_pieces_make_one_text(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    data = wrapped()
    for at in range(len(data)):
        bench.piece(data[at : at + 1], at)
    assert len(bench.ended()) == 1


def test_a_value_over_several_requests(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    offset = 0
    for at in range(0, len(PLACED.value), 8):
        request = chunked(PLACED.value[at : at + 8], 3)
        bench.piece(request, offset)
        offset += len(request)
        time.sleep(0.02)
    (write,) = bench.ended()
    assert isinstance(write, Write) and write.hits == (SecretHit("PLACED", "chunked"),)


def test_a_value_over_looks(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    whole = base64.b64encode(gzip.compress(PLACED.value))
    bench.piece(whole[:40])
    time.sleep(inspect.QUIET_S)
    assert bench.all() == []
    bench.piece(whole[40:], 40)
    time.sleep(inspect.QUIET_S)
    assert len(bench.all()) == 1


def test_behind_a_hole_something_may_be_found(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    bench.piece(b"x" * 100)
    bench.piece(gzip.compress(PLACED.value), 5000)
    assert len(bench.ended()) == 1


def test_an_address_that_is_used_again_is_another_connection(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    for _ in range(3):
        bench.piece(wrapped())
    assert len(bench.ended()) == 3


def test_many_bytes_are_looked_through_while_more_come(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    data = wrapped() + b" " * inspect.MANY
    bench.piece(data)
    said: list[Event] = []
    began = time.monotonic()
    offset = len(data)
    while not said and time.monotonic() - began < 3:
        bench.piece(b" ", offset)
        offset += 1
        said += bench.inspector.follow()
        time.sleep(0.005)
    assert len(said) == 1
    assert time.monotonic() - began < 2


def test_a_program_that_became_another_has_ended_its_objects(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    bench.piece(wrapped())
    bench.inspector.follow()
    bench.see(Exec(3, PID, 1, 0, "/bin/true", ("true",), 5, False))
    assert len(bench.inspector.follow()) == 1, "at once"


# -- secrets that nobody declared ------------------------------------------------------

STRANGER = tokens.github().value.encode()
"""Of a known format, and known to nobody here."""
GITHUB = Home(False, (rule("home.test"),), ("github",), "format")


def found(**changes: object) -> SecretFound:
    event = SecretFound(1, "TOKEN", "environment of sh", "", "0", ("home.test",), "policy")
    return replace(event, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "ip"), [("home.test", HOME_IP), ("named.test", OTHER_IP)])
def test_a_token_of_a_known_shape(name: str, ip: str) -> None:
    bench = Bench(replace(POLICY, format_homes={"github": GITHUB}))
    bench.see(led(name, ip), seen(name, ip), tls(name))
    bench.piece(post(b"authorization: " + STRANGER))
    (shape,) = bench.ended()
    assert isinstance(shape, ShapeSeen)
    assert (shape.format, shape.certain) == ("GitHub personal access token", True)
    assert (shape.name, shape.ip, shape.port) == (name, ip, 443)
    assert shape.at_home is (name == "home.test")
    assert STRANGER.decode() not in repr(shape)
    bench.inspector.close()


def test_one_of_a_kind_and_none_that_stays_here(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    bench.piece(post(STRANGER) + post(gzip.compress(tokens.github().value.encode())))
    assert len(bench.ended()) == 1
    bench.piece(post(STRANGER), pid=PID + 1)
    assert bench.ended(PID + 1) == [], "of a process that is connected with nobody"


def test_a_secret_that_is_declared_is_no_stranger(bench: Bench) -> None:
    bench.see(led("home.test", HOME_IP), seen("home.test", HOME_IP), tls("home.test"))
    bench.piece(post(PLACED.value))
    assert bench.ended() == []


@pytest.mark.parametrize(
    ("event", "carriage"),
    [
        (found(), Carriage.KILL),
        (found(home=(), placed_by="", guessed=True), Carriage.NOTE),
    ],
)
def test_a_secret_that_was_found_is_judged_as_such(event: SecretFound, carriage: Carriage) -> None:
    bench = Bench(replace(POLICY, mode=Mode.BLOCK))
    bench.see(led(), seen(), tls(), event)
    bench.piece(wrapped(TOKEN))
    (write,) = bench.ended()
    assert isinstance(write, Write) and write.carriage is carriage
    bench.inspector.close()


# -- suspicion -------------------------------------------------------------------------

PACKED = gzip.compress(os.urandom(20_000))


@pytest.mark.parametrize(
    ("name", "data", "more"),
    [
        pytest.param("strange.test", PACKED, True, id="packed, to an unnamed host"),
        pytest.param("named.test", PACKED, False, id="packed, to a named host"),
        pytest.param("strange.test", b"plain text " * 2000, False, id="text"),
        pytest.param("strange.test", PACKED[:9000], False, id="little"),
    ],
)
def test_more_is_handed_on_of_what_is_suspicious(
    bench: Bench, name: str, data: bytes, more: bool
) -> None:
    bench.see(led(name), seen(name), tls(name))
    bench.piece(data)
    bench.ended()
    assert bench.watched == ({OBJECT: inspect.WATCHED} if more else {})


# -- bounds ----------------------------------------------------------------------------


def test_nothing_is_kept_of_what_has_ended(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    bench.piece(wrapped())
    bench.ended()
    bench.inspector.follow()
    assert list(bench.inspector._assembly) == []


def test_those_that_a_process_was_connected_with_are_known_for_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_MAX_GONE", 1)
    bench.see(led(), seen(), tls(), Exit(3, PID, 0))
    bench.inspector.follow()
    bench.piece(wrapped())
    time.sleep(inspect.QUIET_S)
    (write,) = bench.all()
    assert isinstance(write, Write) and write.tie is Tie.NAME
    bench.see(seen(pid=PID + 1), Exit(4, PID + 1, 0))
    assert bench.inspector._peers.of_object(PID, OBJECT, 2, ())[2] == ()


def test_what_is_younger_than_the_last_event_waits_for_those_before_it(bench: Bench) -> None:
    """The rings are read one after the other: a connection may become known after its bytes."""
    bench.see(led("home.test", HOME_IP))
    bench.piece(wrapped(), ts_ns=5)
    bench.piece(wrapped(), ts_ns=6)
    bench.see(Exec(3, PID, 1, 0, "/bin/curl", ("curl",), 5, False))
    assert bench.inspector.follow() == []
    bench.see(seen("home.test", HOME_IP, ts_ns=4), replace(tls("home.test"), ts_ns=4))
    bench.see(Exit(7, PID, 0))
    assert bench.all() == []


def test_an_object_has_the_name_of_its_own_time(bench: Bench) -> None:
    bench.see(led("home.test", HOME_IP), led(), seen("home.test", HOME_IP), seen())
    bench.see(tls("home.test"), replace(tls(), ts_ns=3))
    bench.piece(wrapped(), ts_ns=2)
    bench.piece(b"GET / HTTP/1.1\r\n\r\n", ts_ns=4)
    assert bench.ended() == []


def test_what_is_silent_is_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "KEPT_S", 1.0)
    bench.piece(b"x" * 100)
    time.sleep(inspect.QUIET_S)
    assert bench.all() == []
    assert len(list(bench.inspector._assembly)) == 1
    time.sleep(1.05)
    bench.inspector.follow()
    assert list(bench.inspector._assembly) == []


def test_beyond_its_memory_the_oldest_goes_and_that_is_said_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.inspector._assembly, "_max", 100_000)
    for stream in range(8):
        bench.piece(os.urandom(30_000), stream=stream)
    events = bench.inspector.follow()
    assert [type(event) for event in events] == [Loss]
    assert [event.where for event in events if isinstance(event, Loss)] == ["plaintexts"]
    assert sum(sent.size for sent in bench.inspector._assembly) <= 100_000
    for stream in range(8, 16):
        bench.piece(os.urandom(30_000), stream=stream)
    assert Loss not in [type(event) for event in bench.inspector.follow()]


def test_it_does_not_keep_others_waiting(bench: Bench) -> None:
    rows = [{"id": secrets.token_hex(8), "sum": secrets.token_urlsafe(32)} for _ in range(700)]
    for stream in range(20):
        bench.piece(json.dumps(rows).encode()[:65536], stream=stream)
    bench.inspector.follow()
    time.sleep(inspect.QUIET_S)
    longest = 0.0
    for _ in range(20):
        began = time.process_time()
        bench.inspector.follow()
        longest = max(longest, time.process_time() - began)
    assert longest < 0.2, f"{longest:.3f} s"


def test_it_wakes_when_it_is_time(bench: Bench) -> None:
    bench.see(led(), seen(), tls())
    with select.epoll() as waiting:
        bench.inspector.wake(waiting.fileno())
        bench.piece(wrapped())
        bench.inspector.follow()
        assert waiting.poll(0) == []
        assert waiting.poll(2), "a tenth of a second later"
        found = [*bench.inspector.follow()]
        while bench.inspector._work:
            assert waiting.poll(2), "a look was not over when its time was up"
            found += bench.inspector.follow()
        assert len(found) == 1


def test_damaged_records_are_left_out(bench: Bench) -> None:
    record = records.EventPlaintext(stream=1, len=1 << 31, bytes=b"x" * 10)
    record.channel = 200
    whole = ctypes.string_at(ctypes.addressof(record), ctypes.sizeof(record))
    for size in (0, 5, records.EventPlaintext.bytes.offset, len(whole)):
        bench.ring.put(whole[:size])
    record.channel = 0
    bench.ring.put(ctypes.string_at(ctypes.addressof(record), 100))
    assert bench.inspector.follow() == []
    assert sum(sent.size for sent in bench.inspector._assembly) <= 100


def test_closing_twice(bench: Bench) -> None:
    bench.inspector.close()
    assert bench.inspector.follow() == ()
