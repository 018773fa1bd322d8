# SPDX-License-Identifier: MIT
"""The kernel reads what a TCP stream shows, whatever its segments."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpf import hellos
from bpf.hellos import extension, hello, record, records, server_name
from bpf.stream_corpus import GET, HTTP, KEYS, NAME, PIECES, REQUESTS, TLS, agree, request
from bpf.stream_reference import once
from bpf.streams import Parser, Result, Shown, every
from lab.tls import Authority
from leakstop.model.flow import Stream

pytestmark = pytest.mark.root

OTHER = Stream.OTHER


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as made:
        yield made


@pytest.fixture(scope="module")
def server() -> ssl.SSLContext:
    return Authority().server_context(["192.0.2.1"])


# ---- TLS ----


@pytest.mark.parametrize("step", [1, 2, 7, 100, 536, 4000])
@pytest.mark.parametrize("size", [1, 3, 100, 16384])
def test_hello_in_any_segments_and_records(parser: Parser, step: int, size: int) -> None:
    message = hello(extension(10, hellos.noise(8)), server_name("Api.Home.TEST"), KEYS)
    stream = records(message, size)
    assert parser.read(stream, every(step, stream)) == ([Shown(TLS, NAME)], Result.PASS)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_openssl(parser: Parser, server: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    stream = b"".join(hellos.connect(NAME, server, version))
    for step in (1, 50, 4000):
        assert parser.read(stream, every(step, stream)) == ([Shown(TLS, NAME)], Result.DONE)


def test_openssl_without_a_name(parser: Parser, server: ssl.SSLContext) -> None:
    stream = b"".join(hellos.connect(None, server))
    assert parser.read(stream) == ([Shown(TLS)], Result.DONE)


def test_tls_1_0_hello_without_extensions(parser: Parser) -> None:
    assert parser.read(record(hello(minor=1))) == ([Shown(TLS)], Result.PASS)


@pytest.mark.parametrize("size", [1500, 4096, 9000, 16000])
@pytest.mark.parametrize("behind", [False, True])
def test_large_hellos(parser: Parser, size: int, behind: bool) -> None:
    """Key shares of post-quantum groups; the name before them or behind."""
    large = extension(hellos.KEY_SHARE, hellos.noise(size))
    stream = records(hello(*((large, server_name(NAME)) if behind else (server_name(NAME), large))))
    for step in (1400, 999):
        shown, result = parser.read(stream, every(step, stream))
        assert (shown, result) == ([Shown(TLS, NAME)], Result.PASS)


def test_too_large_a_hello(parser: Parser) -> None:
    stream = records(hello(server_name(NAME), extension(hellos.PADDING, bytes(16384))))
    assert parser.read(stream)[0] == [Shown(OTHER)]


def test_encrypted_hello(parser: Parser) -> None:
    ech = extension(hellos.ECH, hellos.noise(200))
    for extensions in ((ech, server_name(NAME)), (server_name(NAME), ech)):
        stream = record(hello(*extensions, KEYS))
        assert parser.read(stream)[0] == [Shown(Stream.HIDDEN, NAME)]
    # The name is judged as soon as it is there, and again with what comes after it.
    message = hello(server_name(NAME), KEYS, ech)
    shown, _ = parser.read(record(message), [len(message) - 210])
    assert shown == [Shown(TLS, NAME), Shown(Stream.HIDDEN, NAME)]


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(record(hello(server_name(NAME), server_name(NAME))), id="two names"),
        pytest.param(record(hello(server_name("a..test"))), id="empty label"),
        pytest.param(record(hello(server_name(".a.test"))), id="leading dot"),
        pytest.param(record(hello(server_name("."))), id="only a dot"),
        pytest.param(record(hello(server_name(""))), id="empty name"),
        pytest.param(record(hello(server_name(b"a\0b.test"))), id="NUL"),
        pytest.param(record(hello(server_name("bücher.test"))), id="not ASCII"),
        pytest.param(record(hello(server_name("2001:db8::1"))), id="IPv6 address"),
        pytest.param(record(hello(server_name("a" * 254))), id="254 characters"),
        pytest.param(record(hello(extension(0))), id="empty extension"),
        pytest.param(record(hello(KEYS, extension(0))), id="empty extension at the end"),
        pytest.param(record(hello(extension(0, b"\0\5\1\0\2ab"))), id="other name type"),
        pytest.param(record(hello(extension(0, b"\0\5\0\0\3ab"))), id="name beyond its list"),
        pytest.param(record(hello(extension(0, b"\0\x0a\0\0\2ab\0\0\2cd"))), id="list of two"),
        pytest.param(record(hello(server_name(NAME)) + b"\0"), id="bytes behind the hello"),
        pytest.param(record(hello(server_name(NAME))[:-1] + b"\0\0"), id="length too small"),
        pytest.param(record(hello(session=33)), id="long session"),
        pytest.param(record(hello(ciphers=3)), id="odd ciphers"),
        pytest.param(record(hello(ciphers=0)), id="no ciphers"),
        pytest.param(record(b"\2" + hello()[1:]), id="no ClientHello"),
        pytest.param(record(b""), id="empty record"),
        pytest.param(b"\x16\x02\x00" + record(hello())[3:], id="SSL 2 in a record"),
        pytest.param(b"\x80\x2e\1\3\1" + bytes(40), id="SSL 2 hello"),
        pytest.param(b"\x16\3\1\x40\x01" + bytes(40), id="record too long"),
        pytest.param(record(hello()[:20]) + record(hello()[20:], 23), id="other record inside"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", id="SSH"),
        pytest.param(b"\0\0\0\x08\x04\xd2\x16\x2f", id="binary"),
        pytest.param(b"quit\r\n", id="line"),
        pytest.param(b"EHLO a.test\r\n", id="SMTP"),
    ],
)
def test_no_tls_that_shows_a_name(parser: Parser, stream: bytes) -> None:
    for step in (len(stream), 1):
        shown, result = parser.read(stream, every(step, stream))
        assert (shown[-1], result) == (Shown(OTHER), Result.DONE)
        agree(parser, stream, every(step, stream))


def test_the_name_in_the_longest_form(parser: Parser) -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    for text in (name, name + "."):
        assert parser.read(record(hello(server_name(text))))[0] == [Shown(TLS, name)]


def test_a_denied_name_is_shown_before_the_hello_ends(parser: Parser) -> None:
    message = hello(server_name("evil.test"), extension(hellos.PADDING, bytes(1000)))
    stream = record(message)
    at = stream.index(b"evil.test") + len("evil.test")
    assert parser.read(stream[: at - 1])[0] == []
    assert parser.read(stream[:at], every(1, stream[:at]))[0] == [Shown(TLS, "evil.test")]


def test_hello_after_a_retry(parser: Parser) -> None:
    server = Authority().server_context(["192.0.2.1"])
    server.set_ecdh_curve("secp384r1")  # no client sends a key for it unasked
    flights = hellos.connect(NAME, server)
    assert len(flights) == 3
    stream = b"".join(flights)
    for step in (1, 9, 4000):
        assert parser.read(stream, every(step, stream)) == ([Shown(TLS, NAME)], Result.DONE)


@pytest.mark.parametrize("early", [False, True])
def test_another_name_after_a_retry(parser: Parser, early: bool) -> None:
    """A server reads the name in the second hello: fronting without any key."""
    extensions = [server_name(NAME), KEYS] + [extension(hellos.EARLY_DATA)] * early
    other = records(hello(server_name("evil.test"), KEYS), 50)
    between = record(b"\1", 20) + record(hellos.noise(90), hellos.APPLICATION) * early
    stream = record(hello(*extensions)) + between + other
    for step in (1, 40, 4000):
        shown, _ = parser.read(stream, every(step, stream))
        assert shown == [Shown(TLS, NAME), Shown(TLS, "evil.test")]
        agree(parser, stream, every(step, stream))


def test_what_follows_a_hello_is_not_read(parser: Parser) -> None:
    stream = (
        record(hello(server_name(NAME))) + record(b"\x10" + hellos.noise(80)) + hellos.noise(999)
    )
    for step in (1, 90, 4000):
        assert parser.read(stream, every(step, stream)) == ([Shown(TLS, NAME)], Result.DONE)


# ---- sequence ----


def test_retransmission_and_overlap(parser: Parser) -> None:
    stream, base = record(hello(server_name(NAME), KEYS)), 2**32 - 20
    for numbers in ([(0, 40), (0, 40), (10, 30), (20, 90), (60, len(stream))], [(0, len(stream))]):
        parser.begin()
        shown = []
        for begin, end in numbers:
            more, result = parser.feed(base + begin, stream[begin:end])
            shown += more
            assert result is Result.PASS
        assert shown[-1:] == [Shown(TLS, NAME)]


def test_gaps_and_urgent_data_do_not_leave(parser: Parser) -> None:
    parser.begin()
    assert parser.feed(1, GET[:10]) == ([], Result.PASS)
    assert parser.feed(12, GET[11:]) == ([], Result.DROP)
    assert parser.feed(11, GET[10:], urgent=True) == ([], Result.DROP)
    assert parser.feed(12, b"") == ([], Result.PASS), "a bare acknowledgement"
    assert parser.feed(12, b"", urgent=True) == ([], Result.DROP)
    assert parser.feed(11, GET[10:]) == ([Shown(HTTP, NAME)], Result.PASS)
    assert parser.feed(1, GET) == ([], Result.PASS)


def test_a_stream_whose_beginning_was_not_seen(parser: Parser) -> None:
    parser.forget()
    for seq in (0, 1, 2**31 - 1, 2**31 + 100, 2**32 - 1):
        assert parser.feed(seq, GET) == ([], Result.DROP)


# ---- HTTP ----


@pytest.mark.parametrize(("stream", "shown"), REQUESTS)
def test_requests(parser: Parser, stream: bytes, shown: list[Shown]) -> None:
    for step in (1, 2, 3, 8, 21, 4000):
        seen, result = parser.read(stream, every(step, stream))
        assert (once(seen), result) == (shown, Result.PASS)
        agree(parser, stream, every(step, stream))


def test_one_host_is_judged_once(parser: Parser) -> None:
    stream = (GET + GET.replace(b"home.test", b"Home.test.")) * 10
    for step in (1, 64, 4000):
        assert parser.read(stream, every(step, stream))[0] == [Shown(HTTP, NAME)]


HEAD = "GET / HTTP/1.1"


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(request(HEAD, "Host: a.test", "Host: a.test"), id="two hosts"),
        pytest.param(request(HEAD, "Host : a.test"), id="space before the colon"),
        pytest.param(request(HEAD, "Host: a.test", " b.test"), id="folded line"),
        pytest.param(request(HEAD, " Host: a.test"), id="space before the name"),
        pytest.param(request(HEAD, "Host: a.test b.test"), id="two names"),
        pytest.param(request(HEAD, "Host: a.test,b.test"), id="list"),
        pytest.param(request(HEAD, "Host: a.test/x"), id="path in host"),
        pytest.param(request(HEAD, "Host: u@a.test"), id="user in host"),
        pytest.param(request(HEAD, "Host: %61.test"), id="percent"),
        pytest.param(request(HEAD, "Host: a.test:80x"), id="port"),
        pytest.param(request(HEAD, "Host: a.test:99999"), id="large port"),
        pytest.param(request(HEAD, "Host: :80"), id="port without a name"),
        pytest.param(request(HEAD, "Host: [::1"), id="open bracket"),
        pytest.param(request(HEAD, "Host: [::1]x"), id="text behind a bracket"),
        pytest.param(b"GET / HTTP/1.1\nHost: a.test\n\n", id="bare LF"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a.test\r\n\n", id="bare LF at the end"),
        pytest.param(b"GET / HTTP/1.1\rHost: a.test\r\n\r\n", id="bare CR"),
        pytest.param(b"GET / HTTP/1.1\r\nX: a\rHost: b.test\r\n\r\n", id="CR in a value"),
        pytest.param(b"GET / HTTP/1.1\r\nX: a\nHost: b.test\r\n\r\n", id="LF in a value"),
        pytest.param(request(HEAD, "X: \0", "Host: a.test"), id="NUL"),
        pytest.param(request(HEAD, ": x"), id="no field name"),
        pytest.param(request("GET / HTTP/2.0", "Host: a.test"), id="version"),
        pytest.param(request("GET /", "Host: a.test"), id="HTTP/0.9"),
        pytest.param(request("GET  / HTTP/1.1", "Host: a.test"), id="two spaces"),
        pytest.param(request("GET / HTTP/1.1 ", "Host: a.test"), id="space at the end"),
        pytest.param(request("get / HTTP/1.1", "Host: a.test"), id="lower case method"),
        pytest.param(request("GET /\x7f HTTP/1.1", "Host: a.test"), id="DEL"),
        pytest.param(b"\r\n" + GET, id="empty line first"),
        pytest.param(request("GET https://a.test/ HTTP/1.1", "Host: a.test"), id="https target"),
        pytest.param(request("GET http://u:p@a.test/ HTTP/1.1", "Host: a.test"), id="user"),
        pytest.param(request("GET http:///x HTTP/1.1", "Host: a.test"), id="empty authority"),
        pytest.param(request("GET http://a.test:0/ HTTP/1.1", "Host: a.test"), id="port 0"),
        pytest.param(request("GET http://a.test/ HTTP/1.1", "Host: b.test"), id="other host"),
        pytest.param(request("GET http://a.test/ HTTP/1.1", "Host:"), id="target, empty host"),
        pytest.param(request("CONNECT a.test HTTP/1.1", "Host: a.test"), id="CONNECT, no port"),
        pytest.param(request("CONNECT a.test:1/ HTTP/1.1", "Host: a.test"), id="CONNECT, path"),
        pytest.param(request("CONNECT a.test:1 HTTP/1.1", "Content-Length: 1"), id="CONNECT body"),
        pytest.param(
            request("CONNECT a.test:1 HTTP/1.1", "Transfer-Encoding: chunked"), id="CONNECT chunks"
        ),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(request(HEAD, "Content-Length: 1", "Content-Length: 1"), id="two lengths"),
        pytest.param(request(HEAD, "Content-Length: 1, 1"), id="list of lengths"),
        pytest.param(request(HEAD, "Content-Length: +1"), id="sign"),
        pytest.param(request(HEAD, "Content-Length: 0x1"), id="hexadecimal length"),
        pytest.param(request(HEAD, "Content-Length:"), id="no length"),
        pytest.param(request(HEAD, "Content-Length: " + "1" * 16), id="length of 16 digits"),
        pytest.param(
            request(HEAD, "Content-Length: 1", "Transfer-Encoding: chunked"), id="length and coding"
        ),
        pytest.param(request(HEAD, "Transfer-Encoding: gzip, chunked"), id="codings"),
        pytest.param(request(HEAD, "Transfer-Encoding: chunkedx"), id="coding"),
        pytest.param(request(HEAD, "Transfer-Encoding: xchunked"), id="other coding"),
        pytest.param(request(HEAD, "Transfer-Encoding:"), id="no coding"),
        pytest.param(
            request("GET / HTTP/1.0", "Transfer-Encoding: chunked"), id="chunks in HTTP/1.0"
        ),
        *(
            pytest.param(request(HEAD, "Transfer-Encoding: chunked", body=body), id=f"chunk {body}")
            for body in (b"\r\n", b"g\r\n", b"-1\r\n", b"5\n", b"1\r\nab\r\n", b"1\r\na\n0", b"0\n")
        ),
        pytest.param(
            request(HEAD, "Transfer-Encoding: chunked", body=b"0\r\nHost: b.test\r\n\r\n"),
            id="host in a trailer",
        ),
    ],
)
def test_requests_that_could_be_read_in_two_ways(parser: Parser, stream: bytes) -> None:
    for step in (len(stream), 1):
        shown, result = parser.read(stream, every(step, stream))
        assert (shown[-1].kind, result) == (OTHER, Result.DONE)
        agree(parser, stream, every(step, stream))


def test_large_bodies_are_passed(parser: Parser) -> None:
    """Beyond 4 GiB, whose sequence numbers come round."""
    size = 5 << 30
    head = request("PUT / HTTP/1.1", "Host: a.test", f"Content-Length: {size}")
    parser.begin()
    assert parser.feed(7, head)[0] == [Shown(HTTP, "a.test")]
    at, part, left = 7 + len(head), bytes(3000), size
    for _ in range(200):
        assert parser.feed(at, part) == ([], Result.PASS)
        at, left = at + len(part), left - len(part)
    assert left > 0
    short = request("PUT / HTTP/1.1", "Host: a.test", "Content-Length: 7000", body=bytes(7000))
    shown, _ = parser.read(short + GET)
    assert shown == [Shown(HTTP, "a.test"), Shown(HTTP, NAME)]


def test_connect(parser: Parser) -> None:
    ask = request("CONNECT proxied.test:8443 HTTP/1.1", "Host: proxied.test:8443")
    asked = Shown(HTTP, "proxied.test", 8443, connect=True)
    inside = {"port": 8443, "tunnel": True}
    for stream, shown in (
        (record(hello(server_name(NAME))), [Shown(TLS, NAME, **inside)]),
        (GET, [Shown(HTTP, NAME, **inside)]),
        (b"SSH-2.0-x\r\n", [Shown(OTHER, **inside)]),
        (ask, [Shown(HTTP, "proxied.test", 8443, connect=True, tunnel=True)]),
        (
            request("GET http://plain.test/ HTTP/1.1", "Host: plain.test"),
            [Shown(HTTP, "plain.test", 80, tunnel=True)],
        ),
    ):
        for step in (1, 11, 4000):
            whole = ask + stream
            seen, _ = parser.read(whole, every(step, whole))
            assert once(seen) == [asked, *shown]
            agree(parser, whole, every(step, whole))


def test_upgrade(parser: Parser) -> None:
    ask = request("GET / HTTP/1.1", "Host: a.test", "Connection: Upgrade", "Upgrade: websocket")
    shown = [Shown(HTTP, "a.test")]
    assert parser.read(ask + b"\x81\x85" + hellos.noise(9)) == (shown, Result.DONE)
    # A server that did not agree reads on as HTTP.
    assert parser.read(ask + GET) == ([*shown, Shown(HTTP, NAME)], Result.PASS)
    assert parser.read(ask + b"PRI * HTTP/2.0\r\n\r\n")[0] == [*shown, Shown(OTHER)]
    for first in (b"\r\n", b" ", b"get", b"~"):
        assert parser.read(ask + first + GET)[0] == [*shown, Shown(OTHER)]
    body = request(
        "POST / HTTP/1.1", "Host: a.test", "Upgrade: x", "Content-Length: 2", body=b"\x81x"
    )
    assert parser.read(body + GET) == ([*shown, Shown(HTTP, NAME)], Result.PASS)
    tls = record(hello(server_name(NAME)))
    assert parser.read(ask + tls) == ([*shown, Shown(TLS, NAME)], Result.PASS)
    for stream in (ask + GET, body + GET, ask + tls, ask + b"\x81\x85"):
        agree(parser, stream, every(1, stream))


# ---- any segmentation ----


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data(), st.lists(st.sampled_from(PIECES), min_size=1, max_size=5))
def test_any_segmentation(parser: Parser, data: st.DataObject, pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    stream = stream[: data.draw(st.integers(1, len(stream)))]
    cuts = data.draw(st.lists(st.integers(1, len(stream)), max_size=12))
    agree(parser, stream, cuts)
