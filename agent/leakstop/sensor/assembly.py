# SPDX-License-Identifier: MIT
"""The beginnings of connections, put together from the pieces that the kernel hands on.

What is held here may be anybody's passwords: it never leaves this process, and goes as soon as
it cannot matter any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from leakstop.model.channel import Channel, Library

MAX_HELD = 16 << 20
"""Bytes of all connections together."""
_MAX_STREAMS = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """Whose bytes they are."""

    pid: int
    stream: int
    """The address of the TLS object, or the socket's cookie."""
    channel: Channel
    library: Library
    ip: str = ""
    """Not for TLS."""
    port: int = 0


@dataclass(slots=True, eq=False)
class Sent:
    """What one connection has sent, as far as it was handed on."""

    source: Source
    runs: list[bytearray] = field(default_factory=list, repr=False)
    """Between two of them something is missing."""
    end: int = 0
    """Offset behind the last byte."""
    began_ns: int = 0
    """When its first byte was sent, and"""
    sent_ns: int = 0
    """when its last one was, by the kernel's clock."""
    size: int = 0
    """Bytes held."""
    looked: int = 0
    """``size`` when it was looked through."""
    first_s: float = 0.0
    """When the first byte came that was not looked through yet."""
    last_s: float = 0.0
    """When the last byte came."""
    ended: bool = False
    """There is no more to come."""
    watched: bool = False
    """More of it is handed on than of others."""
    told: set[str] = field(default_factory=set)
    """What was found in it: secrets, formats."""

    @property
    def fresh(self) -> int:
        """Bytes that were not looked through yet."""
        return self.size - self.looked

    def add(self, offset: int, data: bytes, now_s: float) -> None:
        """Take in a piece; what was there before is left out."""
        if offset < self.end:
            data = data[self.end - offset :]
        if not data:
            return
        if offset > self.end or not self.runs:
            self.runs.append(bytearray())
        self.runs[-1] += data
        self.end = max(offset, self.end) + len(data)
        if not self.fresh:
            self.first_s = now_s
        self.size += len(data)
        self.last_s = now_s


class Assembly:
    """All connections; beyond its bounds the one that was silent the longest goes."""

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max = max_held
        self._held = 0
        self._sent: dict[Sent, None] = {}
        self._growing: dict[Source, Sent] = {}
        self.dropped = 0
        """Connections that went before they were looked through."""

    def __iter__(self) -> Iterator[Sent]:
        return iter(list(self._sent))

    def add(self, source: Source, offset: int, data: bytes, ts_ns: int, now_s: float) -> Sent:
        """Take in a piece and return its connection."""
        sent = self._growing.get(source) if offset else None  # the address is used again
        if sent is None:
            sent = self._growing[source] = Sent(source, end=offset, began_ns=ts_ns)
        sent.sent_ns = ts_ns
        before = sent.size
        sent.add(offset, data, now_s)
        self._held += sent.size - before
        self._sent.pop(sent, None)
        self._sent[sent] = None  # the latest last
        while self._held > self._max or len(self._sent) > _MAX_STREAMS:
            self.drop(next(iter(self._sent)))
        return sent

    def drop(self, sent: Sent) -> None:
        """Let go of it."""
        if sent in self._sent:
            del self._sent[sent]
            self._held -= sent.size
            self.dropped += sent.fresh > 0
        if self._growing.get(sent.source) is sent:
            del self._growing[sent.source]


__all__ = ["MAX_HELD", "Assembly", "Sent", "Source"]
