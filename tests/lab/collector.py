# SPDX-License-Identifier: MIT
"""Servers that keep every byte they get: the thief's drop, a secret's home, any other host."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lab.tls import Channel

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
LASTING_REPLY = REPLY.replace(b"Connection: close\r\n", b"")
_REQUEST_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LASTING = re.compile(rb"\r\nkeep-alive:", re.IGNORECASE)
"""Who asks for it in so many words gets an open connection; most clients would only wait for its
end."""
_CONTINUE = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
SHORTEST_RUN = 5
"""A shorter piece of a secret is found in any text by chance."""


@dataclass
class Connection:
    """One TCP connection, or one datagram."""

    transport: str
    """``tcp``, ``tls`` or ``udp``."""
    local: str
    """Address and port that were reached, as ``203.0.113.66:80``."""
    peer: str = ""
    """Where a datagram came from, likewise."""
    wire: bytearray = field(default_factory=bytearray)
    """What arrived, as it arrived."""
    plain: bytearray = field(default_factory=bytearray)
    """What was in it after TLS."""
    message: bytearray = field(default_factory=bytearray)
    """Header lists and bodies, where HTTP/2 packs them."""

    def is_for(self, name: str) -> bool:
        """Whether ``name`` is in its ClientHello, its Host header or any other place."""
        return any(name.encode() in data for data in self.data)

    @property
    def data(self) -> tuple[bytearray, ...]:
        """All that arrived, in each of its forms."""
        return self.wire, self.plain, self.message


class Collector:
    """All servers of one host, and what they got."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections: list[Connection] = []

    @property
    def bytes_received(self) -> int:
        """Bytes of payload that arrived from the network, TLS records counted as they are."""
        return sum(len(connection.wire) for connection in self.connections)

    def received(self, needle: bytes) -> bool:
        """Whether ``needle`` arrived, on the wire or inside TLS."""
        return any(needle in data for data in self._data())

    def bytes_of(self, secret: bytes) -> int:
        """How many bytes of ``secret`` arrived in one piece (fewer than five count as none)."""
        return longest_run(secret, self._data())

    def _data(self) -> list[bytearray]:
        return [data for seen in self.connections for data in seen.data]


def longest_run(secret: bytes, texts: Sequence[bytes | bytearray]) -> int:
    """Return how many bytes of ``secret`` stand in one piece in a text, 0 if fewer than five."""
    low, high = SHORTEST_RUN - 1, len(secret)
    while low < high:  # if a run of n is there, so is one of n - 1
        length = (low + high + 1) // 2
        pieces = (secret[i : i + length] for i in range(len(secret) - length + 1))
        if any(piece in text for piece in pieces for text in texts):
            low = length
        else:
            high = length - 1
    return low if low >= SHORTEST_RUN else 0


class Stream(asyncio.Protocol):
    """Records a TCP connection and answers each HTTP request in it."""

    def __init__(self, collector: Collector, context: ssl.SSLContext | None = None) -> None:
        self._collector = collector
        self._channel = Channel(context) if context else None
        self._continued = False
        self._answered = 0
        self._missing = 0
        """Before so many bytes are there, a large body need not be looked at again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection even if nothing follows."""
        self._transport = cast(asyncio.Transport, transport)
        self._seen = Connection("tls" if self._channel else "tcp", _local(transport))
        self._collector.connections.append(self._seen)

    def data_received(self, data: bytes) -> None:
        """Record, decrypt, answer."""
        self._seen.wire += data
        try:
            plain = self._channel.receive(data) if self._channel else data
        except ssl.SSLError:
            self._transport.close()
            return
        self._seen.plain += plain
        self.answer(plain)

    def answer(self, plain: bytes) -> None:
        """Answer the request when it is complete: ``plain`` is new of it."""
        if len(self._seen.plain) < self._missing:
            self._send(b"")
            return
        head, blank, body = bytes(self._seen.plain[self._answered :]).partition(b"\r\n\r\n")
        asked = blank and _REQUEST_LINE.match(head + b"\r\n")
        if asked and (length := _LENGTH.search(head)):
            self._missing = self._answered + len(head) + len(blank) + int(length[1])
        if asked and _is_complete(head, body) and _LASTING.search(head):
            self._answered = len(self._seen.plain)
            self._send(LASTING_REPLY)
        elif asked and _is_complete(head, body):
            self._send(self.reply(head, body))
            self._transport.close()
        elif asked and not self._continued and _CONTINUE.search(head):
            self._continued = True
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._send(b"")

    def reply(self, head: bytes, body: bytes) -> bytes:
        """What to answer a request."""
        return REPLY

    def _send(self, plain: bytes) -> None:
        if self._channel is None:
            self._transport.write(plain)
            return
        if plain:
            self._channel.send(plain)
        self._transport.write(self._channel.pending())


def _is_complete(head: bytes, body: bytes) -> bool:
    if _CHUNKED.search(head):
        return body.endswith(b"0\r\n\r\n")
    length = _LENGTH.search(head)
    return len(body) >= (int(length[1]) if length else 0)


class Patient(Stream):
    """Answers every request with its body in full, and leaves the connection open for more."""

    def data_received(self, data: bytes) -> None:
        """Record and answer."""
        self._seen.wire += data
        self._seen.plain += data
        self._transport.write(LASTING_REPLY)


class Datagrams(asyncio.DatagramProtocol):
    """Records every datagram; nothing is answered."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember which address this is."""
        self._local = _local(transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Record one datagram."""
        seen = Connection("udp", self._local, _place(addr), bytearray(data), bytearray(data))
        self._collector.connections.append(seen)


def _local(transport: asyncio.BaseTransport) -> str:
    return _place(transport.get_extra_info("sockname"))


def _place(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
