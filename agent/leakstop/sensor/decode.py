# SPDX-License-Identifier: MIT
"""Records of the kernel's ring, turned into events. What may hold a secret is masked here."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from leakstop.bpf import records
from leakstop.bpf.records import Kind
from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.container import ContainerSeen
from leakstop.model.event import (
    Answer,
    Bound,
    Connect,
    Event,
    Exec,
    Exit,
    Fork,
    Question,
    SecretHit,
    StreamSeen,
    TlsSeen,
    Write,
)
from leakstop.model.flow import Stream, Transport
from leakstop.model.process import DELETED
from leakstop.model.verdict import Action, Carriage, Reason
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import NeedleTable
from leakstop.sensor import proc
from leakstop.sensor.tampering import tamper

ARGV_MAX = 1 << 18
"""Bytes of a command line that an event holds at most; longer ones are marked."""

_ACTIONS = tuple(Action)
_REASONS = tuple(Reason)
_CARRIAGES = tuple(Carriage)
_VIAS = ("connect", "send", "socket", "accept", "older", "link")
_STREAMS = tuple(Stream)
_CHANNELS = tuple(Channel)
_LIBRARIES = tuple(Library)
_TIES = tuple(Tie)
# <linux/socket.h>
_FAMILIES = {0: "", 17: "packet", 40: "vsock", 44: "xdp"}
_TRANSPORTS = {
    1: Transport.ICMP,
    6: Transport.TCP,
    17: Transport.UDP,
    58: Transport.ICMP,
}
# RFC 1035, 3596, 2782, 9460; others are written as RFC 3597 does.
_QTYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA",
    33: "SRV", 64: "SVCB", 65: "HTTPS", 255: "ANY", 257: "CAA", 10: "NULL", 35: "NAPTR",
    252: "AXFR",
}  # fmt: skip
_MAPPED = bytes(10) + b"\xff\xff"

R = TypeVar("R", bound=ctypes.Structure)

Look = Callable[[records.EventHead, int, str, bytes, tuple[SecretHit, ...]], tuple[SecretHit, ...]]
"""Is shown a program that started: its tag, itself, its command line and the secrets that the
kernel found there; returns those that are there."""


class Decoder:
    """Reads records, one at a time."""

    def __init__(self, needles: NeedleTable, masker: Masker, look: Look | None = None) -> None:
        self._masker = masker
        self._look = look
        self._owners: list[SecretHit] = []
        self.learn(needles)

    def learn(self, needles: NeedleTable) -> None:
        """Know the needles of ``needles``, which extends those from before."""
        self._owners += (
            SecretHit(needles.names[owner], encoding)
            for owner, encoding in needles.owners[len(self._owners) :]
        )

    def decode(self, address: int, size: int) -> Event:
        """Build the event of the record at ``address``.

        Raises:
            ValueError: the record is of no known kind, or has a number that means nothing.
        """
        kind = _record(records.EventHead, address, size).kind
        try:
            return self._of_kind(kind, address, size)
        except IndexError as error:
            raise ValueError(f"record of kind {kind} with a strange number in it") from error

    def _of_kind(self, kind: int, address: int, size: int) -> Event:
        if kind == Kind.FORK:
            fork = _record(records.EventFork, address, size)
            return Fork(fork.head.ts, fork.head.pid, fork.ppid, fork.head.start, fork.tag)
        if kind == Kind.EXIT:
            exit_ = _record(records.EventExit, address, size)
            return Exit(exit_.head.ts, exit_.head.pid, exit_.code)
        if kind == Kind.EXEC:
            return self._exec(_record(records.EventExec, address, size))
        if kind == Kind.CONNECT:
            return self._connect(_record(records.EventConnect, address, size))
        if kind == Kind.QUESTION:
            return self._question(_record(records.EventQuestion, address, size))
        if kind == Kind.ANSWER:
            return self._answer(_record(records.EventAnswer, address, size))
        if kind == Kind.STREAM:
            return self._stream(_record(records.EventStream, address, size))
        if kind == Kind.BIND:
            bind = _record(records.EventBind, address, size)
            return Bound(bind.head.ts, bind.head.pid, ip_text(bytes(bind.ip)), bind.port)
        if kind == Kind.WRITE:
            return self._write(_record(records.EventWrite, address, size))
        if kind == Kind.TLS:
            tls = _record(records.EventTls, address, size)
            name = self._name(tls.name[: tls.name_len])
            return TlsSeen(tls.head.ts, tls.head.pid, _LIBRARIES[tls.library], name, tls.object)
        if kind == Kind.TAMPER:
            return tamper(_record(records.EventTamper, address, size), self._masker)
        if kind == Kind.CONTAINER:
            inside = _record(records.EventContainer, address, size)
            digits, first = f"{inside.container:016x}", bool(inside.first)
            head, stays = inside.head, bool(inside.stays)
            return ContainerSeen(
                head.ts, head.pid, digits, asker=inside.asker, first=first, stays=stays
            )
        raise ValueError(f"record of unknown kind {kind}, {size} bytes")

    def _exec(self, record: records.EventExec) -> Exec:
        start = ctypes.addressof(record) + records.EventExec.argv.offset
        raw = ctypes.string_at(start, min(record.argv_copied, records.ARGV_COPY))
        truncated = record.argv_copied < record.argv_bytes
        if truncated:
            raw, truncated = _rest_of_argv(record.head.pid, raw, record.argv_bytes)
        program, exe = program_path(record.program), proc.text(record.exe)
        if record.unlinked:
            exe = program + DELETED
        elif not exe.startswith("/"):
            exe = program or exe
        hits = self._hits(record.hits, record.hit_count)
        if self._look is not None:
            # Before anything is masked: a secret of its environment may be on its command line.
            hits = self._look(record.head, record.tag, exe, raw, hits)
        # Masked as one text: a value may hold the NUL between two arguments.
        masked = self._masker.mask_bytes(raw, cut=truncated) if raw else b""
        return Exec(
            ts_ns=record.head.ts,
            pid=record.head.pid,
            ppid=record.ppid,
            uid=record.uid,
            exe=self._masker.mask(exe, cut=False),
            argv=tuple(map(proc.text, proc.split_nul(masked))),
            argv_bytes=record.argv_bytes,
            truncated=truncated,
            hits=hits,
            unscanned=bool(record.unscanned),
            start_ns=record.head.start,
            cgroup=record.cgroup,
            tag=record.tag,
            program=self._masker.mask(program, cut=False),
            inode=record.inode,
            unlinked=bool(record.unlinked),
            held=bool(record.held),
        )

    def _connect(self, record: records.EventConnect) -> Connect:
        judged = record.judged
        return Connect(
            ts_ns=record.head.ts,
            pid=record.head.pid,
            transport=_TRANSPORTS.get(record.protocol, Transport.OTHER),
            ip=ip_text(bytes(record.ip)),
            port=record.port,
            via=_VIAS[record.via],
            policy=_ACTIONS[judged.policy],
            applied=_ACTIONS[judged.applied],
            reason=_REASONS[judged.reason],
            carriage=_CARRIAGES[judged.carriage],
            hits=self._hits(record.hits, record.hit_count),
            killed=bool(record.killed),
            cookie=record.cookie,
            family=_FAMILIES.get(record.family, f"family {record.family}"),
            narrowed=bool(record.narrowed),
        )

    def _question(self, record: records.EventQuestion) -> Question:
        judged = record.judged
        name = record.name[: record.name_len].decode("ascii", "backslashreplace")
        shown = self._masker.mask(name, cut=False)
        joined = shown.replace(".", "")
        if record.in_name and (shown == name or self._masker.mask(joined, cut=False) != joined):
            # The secret is spread over labels: nothing of the name can be shown.
            shown = f"***{self._owners[record.hits[0]].secret}***"
        return Question(
            ts_ns=record.head.ts,
            pid=record.head.pid,
            name=shown.lower(),
            qtype=_QTYPES.get(record.qtype, f"TYPE{record.qtype}"),
            resolver=ip_text(bytes(record.resolver)),
            policy=_ACTIONS[judged.policy],
            applied=_ACTIONS[judged.applied],
            reason=_REASONS[judged.reason],
            carriage=_CARRIAGES[judged.carriage],
            hits=self._hits(record.hits, record.hit_count),
            in_name=bool(record.in_name),
            killed=bool(record.killed),
            cookie=record.cookie,
            begun=bool(record.begun),
            narrowed=bool(record.narrowed),
        )

    def _stream(self, record: records.EventStream) -> StreamSeen:
        judged = record.judged
        return StreamSeen(
            ts_ns=record.head.ts,
            pid=record.head.pid,
            ip=ip_text(bytes(record.ip)),
            port=record.port,
            stream=_STREAMS[record.stream],
            name=self._name(record.name[: record.name_len]),
            name_port=record.name_port,
            policy=_ACTIONS[judged.policy],
            applied=_ACTIONS[judged.applied],
            reason=_REASONS[judged.reason],
            cookie=record.cookie,
            carriage=_CARRIAGES[judged.carriage],
            hits=self._hits(record.hits, record.hit_count),
            killed=bool(record.killed),
            narrowed=bool(record.narrowed),
        )

    def _answer(self, record: records.EventAnswer) -> Answer:
        addresses: tuple[list[str], list[str]] = ([], [])
        for i in range(record.count):
            addresses[record.refused >> i & 1].append(ip_text(bytes(record.address[i])))
        return Answer(
            ts_ns=record.head.ts,
            name=self._name(record.name[: record.name_len]),
            addresses=tuple(addresses[0]),
            ttl_s=record.ttl,
            refused=tuple(addresses[1]),
        )

    def _write(self, record: records.EventWrite) -> Write:
        judged = record.judged
        return Write(
            ts_ns=record.head.ts,
            pid=record.head.pid,
            channel=_CHANNELS[record.channel],
            transport=_TRANSPORTS.get(record.protocol, Transport.OTHER),
            ip=ip_text(bytes(record.ip)) if any(record.ip) else "",
            port=record.port,
            name=self._name(record.name[: record.name_len]),
            tie=_TIES[record.tie],
            library=_LIBRARIES[record.library],
            size=record.size,
            policy=_ACTIONS[judged.policy],
            applied=_ACTIONS[judged.applied],
            reason=_REASONS[judged.reason],
            carriage=_CARRIAGES[judged.carriage],
            hits=self._hits(record.hits, record.hit_count),
            killed=bool(record.killed),
            cookie=record.cookie,
            object=record.object,
            begun=bool(record.begun),
        )

    def _name(self, raw: bytes) -> str:
        """A host's name, masked."""
        return self._masker.mask(raw.decode("ascii", "backslashreplace"), cut=False).lower()

    def _hits(self, needles: ctypes.Array[ctypes.c_uint16], count: int) -> tuple[SecretHit, ...]:
        return tuple(self._owners[needles[i]] for i in range(min(count, records.HITS_MAX)))


def _record(kind: type[R], address: int, size: int) -> R:
    """The record at ``address``. One that ends with a text is shorter than its struct; nothing
    of what lies behind it is read."""
    if size >= ctypes.sizeof(kind):
        return kind.from_address(address)
    record = kind()
    ctypes.memmove(ctypes.addressof(record), address, size)
    return record


def program_path(names: bytes) -> str:
    """A path as ``struct program_key`` has it, from its file up, as text; empty if it is none."""
    return "/" + "/".join(map(proc.text, reversed(names[:-1].split(b"/")))) if names else ""


def request_of(address: int, size: int) -> records.EventEngine | None:
    """What an engine is asked for, if the record at ``address`` tells of that: no event yet."""
    if _record(records.EventHead, address, size).kind != Kind.ENGINE:
        return None
    return records.EventEngine.from_buffer_copy(ctypes.string_at(address, size))


def ip_text(packed: bytes) -> str:
    """16 bytes as text, v4-mapped addresses as IPv4."""
    if packed[:12] == _MAPPED:
        return str(IPv4Address(packed[12:]))
    return str(IPv6Address(packed))


def _rest_of_argv(pid: int, raw: bytes, total: int) -> tuple[bytes, bool]:
    """The whole command line if the process still shows it, and whether it is cut."""
    shown = proc.cmdline(pid)
    whole = b"\0".join(shown) + b"\0" if shown else b""
    # A process can overwrite its arguments; then what the kernel copied is the truth.
    if len(whole) < total or not whole.startswith(raw[:-1]):
        return raw, True
    return whole[:ARGV_MAX], len(whole) > ARGV_MAX


__all__ = ["Decoder", "ip_text", "program_path", "request_of"]
