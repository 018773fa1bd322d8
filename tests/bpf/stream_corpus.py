# SPDX-License-Identifier: MIT
"""Streams to read, whole and in pieces, and the comparison of kernel and reference."""

from __future__ import annotations

from collections.abc import Iterable

from bpf import hellos
from bpf.hellos import extension, hello, record, records, server_name
from bpf.stream_reference import once, read
from bpf.streams import SEGMENT_MAX, Parser, Result, Shown
from leakstop.model.flow import Stream

TLS, HTTP = Stream.TLS, Stream.HTTP
NAME = "api.home.test"
KEYS = extension(hellos.KEY_SHARE, hellos.noise(64))
GET = b"GET / HTTP/1.1\r\nHost: api.home.test\r\n\r\n"


def request(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def agree(parser: Parser, stream: bytes, cuts: Iterable[int]) -> None:
    """Kernel and reference say the same of the stream, cut like this and whole."""
    reference = read(stream)
    whole, result = parser.read(stream)
    if len(stream) <= SEGMENT_MAX:
        assert whole in (reference.settled, reference.shown), (stream, whole, reference.said)
    assert (result is Result.DONE) == reference.opaque, (stream, result, reference)
    seen, result = parser.read(stream, cuts)
    assert reference.allows(once(seen)), (stream, seen, reference.said)
    assert (result is Result.DONE) == reference.opaque, (stream, result, reference)


REQUESTS: list[tuple[bytes, list[Shown]]] = [
    (request("GET / HTTP/1.1", "Host: API.home.test."), [Shown(HTTP, NAME)]),
    (request("GET /?q=%20 HTTP/1.0"), [Shown(HTTP)]),
    (request("GET / HTTP/1.1", "Host:"), [Shown(HTTP)]),
    (request("OPTIONS * HTTP/1.1", "hOST:api.home.test:8080\t "), [Shown(HTTP, NAME)]),
    (request("GET / HTTP/1.1", "Host: [2001:DB8::1]:80"), [Shown(HTTP, "[2001:db8::1]")]),
    (request("GET / HTTP/1.1", "Host: 192.0.2.1"), [Shown(HTTP, "192.0.2.1")]),
    (request("GET http://API.home.test HTTP/1.1"), [Shown(HTTP, NAME, 80)]),
    (
        request("GET HTTP://api.home.test:8080/x HTTP/1.1", "Host: api.home.test:8080"),
        [Shown(HTTP, NAME, 8080)],
    ),
    (request("GET http://a.test?x HTTP/1.1", "Host: a.test."), [Shown(HTTP, "a.test", 80)]),
    (request("GET http://a.test.:81 HTTP/1.1", "Host: a.test"), [Shown(HTTP, "a.test", 81)]),
    (
        request("POST / HTTP/1.1", "Host: a.test", "Content-Length: 5", body=b"GET /")
        + request("GET / HTTP/1.1", "Host: a.test")
        + request("GET / HTTP/1.1", "Host: b.test"),
        [Shown(HTTP, "a.test"), Shown(HTTP, "b.test")],
    ),
    (
        request(
            "PUT / HTTP/1.1",
            "Host: a.test",
            "Transfer-Encoding: Chunked",
            body=b'5\r\nHost:\r\n00a;x="y"\r\n0123456789\r\n0\r\nDigest: 1\r\n\r\n',
        )
        + request("GET / HTTP/1.1", "Host: b.test"),
        [Shown(HTTP, "a.test"), Shown(HTTP, "b.test")],
    ),
    (
        request("PUT / HTTP/1.1", "Host: a.test", "Content-Length: 0") * 3,
        [Shown(HTTP, "a.test")],
    ),
]
"""Streams of requests, and what they show."""

PIECES = [
    *(stream for stream, _ in REQUESTS),
    GET,
    request("CONNECT a.test:443 HTTP/1.1", "Host: a.test:443"),
    request("GET / HTTP/1.1", "Host: a.test", "Upgrade: tcp"),
    record(hello(server_name(NAME), KEYS)),
    record(hello(server_name("other.test"), extension(hellos.EARLY_DATA)), hellos.HANDSHAKE),
    records(hello(extension(hellos.ECH, b"x" * 30), server_name(NAME)), 33),
    record(b"\1", 20),
    record(b"x" * 40, hellos.APPLICATION),
    record(b"x" * 40),
    b"\x81\x05",
    b"\r\n",
]
"""Streams and parts of them, to be put together."""
