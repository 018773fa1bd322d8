# SPDX-License-Identifier: MIT
"""HTTP/2 (RFC 9113): a connection's requests, written as HTTP/1 would, so that one reader does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

HTTP2 = "http/2"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEAD = 9
_DATA, _HEADERS, _CONTINUATION = 0, 1, 9
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_MAX_STREAMS = 256
_MAX_LIST = 1 << 16
"""Bytes of one list of headers, packed or not."""

Headers = list[tuple[bytes, bytes]]

try:
    import hpack

    READS_HEADERS = True
    """Whether this machine has what reads them; without it only bodies are looked through."""

    class _Decoder:
        """Of one connection, as long as it can be read."""

        def __init__(self) -> None:
            self._decoder: hpack.Decoder | None = hpack.Decoder(max_header_list_size=_MAX_LIST)

        def decode(self, block: bytes) -> Headers:
            if self._decoder is None:
                return []
            try:
                pairs = self._decoder.decode(block, raw=True)
                return [(bytes(name), bytes(value)) for name, value in pairs]
            except hpack.HPACKError:
                self._decoder = None  # what follows refers to what could not be read
                return []

except ImportError:
    READS_HEADERS = False

    class _Decoder:  # type: ignore[no-redef]
        def decode(self, block: bytes) -> Headers:
            return []


@dataclass(slots=True)
class _Exchange:
    headers: Headers = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)


def messages(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """The requests of a connection that is there from its beginning.

    Headers mean something only together with all that came before them (RFC 7541).
    """
    start = data.find(_PREFACE)
    if start < 0:
        return
    exchanges: dict[int, _Exchange] = {}
    block = b""
    decoder = _Decoder()
    for kind, flags, stream, payload in _frames(data, start + len(_PREFACE)):
        if kind not in (_DATA, _HEADERS, _CONTINUATION):
            continue
        if stream not in exchanges and len(exchanges) >= _MAX_STREAMS:
            break
        exchange = exchanges.setdefault(stream, _Exchange())
        if kind == _DATA:
            exchange.body.append(_content(payload, flags, 0))
            continue
        block += _content(payload, flags, 5) if kind == _HEADERS else payload
        if flags & _END_HEADERS:
            headers = decoder.decode(block)
            exchange.headers += headers
            most -= sum(len(name) + len(value) for name, value in headers)
            block = b""
        if most <= 0 or len(block) > _MAX_LIST:
            break
    yield HTTP2, b"".join(map(_written, exchanges.values()))


def _frames(data: bytes, at: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, stream and payload of each; the last may be cut."""
    while at + _FRAME_HEAD <= len(data):
        size = int.from_bytes(data[at : at + 3], "big")
        stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
        start = at + _FRAME_HEAD
        yield data[at + 3], data[at + 4], stream, data[start : start + size]
        at = start + size


def _content(payload: bytes, flags: int, priority: int) -> bytes:
    """A payload without its padding and its priority fields."""
    start, end = 0, len(payload)
    if flags & _PADDED and payload:
        start, end = 1, end - payload[0]
    if flags & _PRIORITY:
        start += priority
    return payload[start : max(start, end)]


def _written(exchange: _Exchange) -> bytes:
    headers = dict(exchange.headers)
    body = b"".join(exchange.body)
    method, path = headers.get(b":method", b"POST"), headers.get(b":path", b"/")
    lines = [b"%s %s HTTP/1.1" % (method, path)]
    lines += [
        b"%s: %s" % pair for pair in exchange.headers if pair[0] not in (b":method", b":path")
    ]
    lines += [b"content-length: %d" % len(body), b"", body]
    return b"\r\n".join(lines)
