# SPDX-License-Identifier: MIT
"""The lab's name server: answers from a dictionary and remembers every question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import cast

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A, DNSError, DNSRecord

TTL_S = 60
MOST_CNAMES = 8


@dataclass(frozen=True)
class Question:
    """One question that reached the server."""

    name: str
    """As it was asked, upper and lower case kept, without the trailing dot."""
    qtype: str
    transport: str
    """``udp`` or ``tcp``."""


Script = Callable[[DNSRecord, DNSRecord], bytes]
"""Makes an answer of the query and an empty reply to it."""


class NameServer:
    """Authoritative for everything: a name that the zone does not hold does not exist.

    The zone maps a name to its addresses, or to one other name (a CNAME). A key that begins with
    ``*.`` stands for all names below. It may be changed while the server runs.
    """

    def __init__(self, zone: Mapping[str, Sequence[str]]) -> None:
        self.zone = dict(zone)
        self.scripts: dict[str, Script] = {}
        """By name in lower case: who makes the answers about it."""
        self.questions: list[Question] = []
        self.wire = bytearray()
        """All bytes that arrived, also those that were no question."""

    def received(self, needle: bytes) -> bool:
        """Whether ``needle`` arrived, in whatever case and however split into labels."""
        names = b"\n".join(q.name.replace(".", "").encode() for q in self.questions)
        wanted = needle.lower()
        return wanted in bytes(self.wire).lower() or wanted in names.lower()

    def asked(self, name: str) -> bool:
        """Whether there was a question for ``name`` or a name below it."""
        asked = (f".{question.name.lower()}" for question in self.questions)
        return any(question.endswith(f".{name}") for question in asked)

    def answer(self, query: bytes, transport: str) -> bytes | None:
        """Answer one message; ``None`` for what cannot be read."""
        self.wire += query
        try:
            record = DNSRecord.parse(query)
        except DNSError:
            return None
        asked = str(record.q.qname).rstrip(".")
        qtype = QTYPE.get(record.q.qtype)
        self.questions.append(Question(asked, str(qtype), transport))
        reply = record.reply()
        name = asked.lower()
        if name in self.scripts:
            return self.scripts[name](record, reply)
        if not self._find(name):
            reply.header.rcode = RCODE.NXDOMAIN
        for _ in range(MOST_CNAMES):
            values = self._find(name)
            if len(values) != 1 or _is_address(values[0]):
                break
            reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(values[0]), ttl=TTL_S))
            name = values[0]
        for value in filter(_is_address, self._find(name)):
            kind, data = ("AAAA", AAAA) if ":" in value else ("A", A)
            if kind == qtype:
                reply.add_answer(RR(name, record.q.qtype, rdata=data(value), ttl=TTL_S))
        packed: bytes = reply.pack()
        return packed

    def _find(self, name: str) -> Sequence[str]:
        if name in self.zone:
            return self.zone[name]
        parent = name
        while "." in parent:
            parent = parent.partition(".")[2]
            if f"*.{parent}" in self.zone:
                return self.zone[f"*.{parent}"]
        return ()


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


class UdpFront(asyncio.DatagramProtocol):
    """DNS over UDP."""

    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one datagram."""
        if reply := self._server.answer(data, "udp"):
            self._transport.sendto(reply, addr)


class TcpFront(asyncio.Protocol):
    """DNS over TCP: each message behind its length in two bytes."""

    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every message that is complete."""
        self._unread += data
        while len(self._unread) >= 2:
            end = 2 + int.from_bytes(self._unread[:2], "big")
            if len(self._unread) < end:
                return
            reply = self._server.answer(bytes(self._unread[2:end]), "tcp")
            del self._unread[:end]
            if reply is not None:
                self._transport.write(len(reply).to_bytes(2, "big") + reply)
