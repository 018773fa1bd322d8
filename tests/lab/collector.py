# SPDX-License-Identifier: MIT
"""Servers that keep every byte they get: the thief's drop, a secret's home, any other host."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from typing import cast

from lab.tls import Channel

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
LASTING_REPLY = REPLY.replace(b"Connection: close\r\n", b"")
_REQUEST_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
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
    wire: bytearray = field(default_factory=bytearray)
    """What arrived, as it arrived."""
    plain: bytearray = field(default_factory=bytearray)
    """What was in it after TLS."""


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
        for length in range(len(secret), SHORTEST_RUN - 1, -1):
            pieces = (secret[i : i + length] for i in range(len(secret) - length + 1))
            if any(map(self.received, pieces)):
                return length
        return 0

    def _data(self) -> list[bytearray]:
        return [data for seen in self.connections for data in (seen.wire, seen.plain)]


class Stream(asyncio.Protocol):
    """Records a TCP connection and answers each HTTP request in it."""

    def __init__(self, collector: Collector, context: ssl.SSLContext | None = None) -> None:
        self._collector = collector
        self._channel = Channel(context) if context else None
        self._continued = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection even if nothing follows."""
        self._transport = cast(asyncio.Transport, transport)
        self._seen = Connection("tls" if self._channel else "tcp", _local(transport))
        self._collector.connections.append(self._seen)

    def data_received(self, data: bytes) -> None:
        """Record, decrypt, answer."""
        self._seen.wire += data
        try:
            self._seen.plain += self._channel.receive(data) if self._channel else data
        except ssl.SSLError:
            self._transport.close()
            return
        head, blank, body = bytes(self._seen.plain).partition(b"\r\n\r\n")
        asked = blank and _REQUEST_LINE.match(head + b"\r\n")
        if asked and _is_complete(head, body):
            self._send(REPLY)
            self._transport.close()
        elif asked and not self._continued and _CONTINUE.search(head):
            self._continued = True
            self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._send(b"")

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

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Record one datagram."""
        seen = Connection("udp", self._local, bytearray(data), bytearray(data))
        self._collector.connections.append(seen)


def _local(transport: asyncio.BaseTransport) -> str:
    host, port = transport.get_extra_info("sockname")[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
