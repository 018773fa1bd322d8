# SPDX-License-Identifier: MIT
"""Which encrypted connections were looked into before they were encrypted, and why not the others.

The kernel sees plaintext in the functions of a TLS library, and connections at their sockets. What
ties the two is the process and, where both have one, the name. A connection that nothing ties to a
plaintext stays "not inspected": never counted as clean.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto

from leakstop.engine.flows import Flows, Key
from leakstop.model.event import Opaque, TlsSeen
from leakstop.model.flow import Stream, Transport
from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Action, Reason

_PROCESSES = 4096
_CONNECTIONS = 16_384
"""That wait for a sign that they were looked into, of all processes. Beyond both bounds the process
that was last heard of longest ago is forgotten: its connections stay not inspected."""
_NAMES = 64
"""Names of TLS objects remembered of a process."""

_HTTPS, _SSH = 443, 22
_QUIC_WHY = "QUIC encrypts by itself"
_SSH_WHY = "SSH encrypts by itself"


class Cover(Enum):
    """What hides the contents of a connection from the packet hook."""

    NONE = auto()
    """Nothing: they are looked through as they leave. Or nothing left."""
    UNKNOWN = auto()
    """Nothing that shows. Of a program whose TLS cannot be looked into: perhaps TLS."""
    TLS = auto()
    QUIC = auto()
    SSH = auto()


def cover_of(record: FlowRecord, stream: Stream, *, asks_tls: bool) -> Cover:
    """Say what hides a connection that shows ``stream``, behind a proxy's CONNECT too.

    ``asks_tls``: its rule lets nothing pass but TLS. What is as its rule asks, the kernel does not
    tell.
    """
    gone = record.applied is Action.ALLOW and not record.service
    if not gone or record.what or record.reason in (Reason.LOCAL, Reason.RESOLVER):
        return Cover.NONE
    if record.protocol is Transport.UDP:
        return Cover.QUIC if record.port == _HTTPS else Cover.NONE
    if record.protocol is not Transport.TCP or stream is Stream.HTTP:
        return Cover.NONE
    if stream in (Stream.TLS, Stream.HIDDEN):
        return Cover.TLS
    if record.port == _SSH:
        return Cover.SSH
    presumed = asks_tls or record.port == _HTTPS
    return Cover.TLS if presumed and stream is Stream.UNSEEN else Cover.UNKNOWN


@dataclass(slots=True)
class _Process:
    libraries: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """By the name of a TLS object, empty if it has none."""
    why: str = ""
    """Why its TLS cannot be looked into."""
    waiting: list[tuple[str, Key]] = field(default_factory=list)
    """TLS connections that nothing was seen of, by the name that they show."""
    plain: list[Key] = field(default_factory=list)
    """Connections that show nothing."""

    def library_for(self, name: str) -> str | None:
        """Through which library a connection that shows ``name`` was looked into, if it was."""
        fitting = (lib for known, lib in self.libraries.items() if _fits(known, name))
        return next(fitting, None)


class Inspection:
    """Tells ``Flows`` which of its connections were looked into."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows
        self._processes: OrderedDict[int, _Process] = OrderedDict()
        self._held = 0
        """Connections in all processes."""

    def opened(self, pid: int, record: FlowRecord, key: Key, cover: Cover) -> None:
        """Take in a connection, or that it shows itself."""
        if cover is Cover.QUIC or cover is Cover.SSH:
            self._flows.sealed(key, _QUIC_WHY if cover is Cover.QUIC else _SSH_WHY)
        elif cover is Cover.TLS:
            self._opened_tls(pid, record.shown or record.host, key)
        elif cover is Cover.UNKNOWN:
            process = self._process(pid)
            if process.why:
                self._flows.sealed(key, process.why)
            else:
                process.plain.append(key)
                self._hold_one()

    def turned(self, pid: int, key: Key) -> None:
        """Take back a connection that turned out to be another one."""
        process = self._processes.get(pid)
        if process is None:
            return
        if key in process.plain:
            process.plain.remove(key)
            self._held -= 1
            return
        for entry in process.waiting:
            if entry[1] == key:
                process.waiting.remove(entry)
                self._held -= 1
                self._flows.unsealed(key, looked_into=False)
                return
        self._flows.unsealed(key, looked_into=True)

    def seen(self, event: TlsSeen) -> None:
        """Take in that the plaintext of a TLS connection is seen."""
        process = self._process(event.pid)
        process.libraries[event.name] = event.library.value
        process.libraries.move_to_end(event.name)
        if len(process.libraries) > _NAMES:
            process.libraries.popitem(last=False)
        fitting = [entry for entry in process.waiting if _fits(event.name, entry[0])]
        for entry in fitting:
            process.waiting.remove(entry)
            self._flows.looked_into(entry[1], event.library.value)
        self._held -= len(fitting)

    def opaque(self, event: Opaque) -> None:
        """Take in that the TLS of a program cannot be looked into."""
        process = self._process(event.pid)
        process.why = event.why
        for _, key in process.waiting:
            self._flows.blame(key, event.why)
        for key in process.plain:
            self._flows.sealed(key, event.why)
        self._held -= len(process.plain)
        process.plain.clear()

    def forget(self, pid: int) -> None:
        """Drop what is known of ``pid``: it is another program now."""
        process = self._processes.pop(pid, None)
        if process is not None:
            self._held -= len(process.waiting) + len(process.plain)

    def _opened_tls(self, pid: int, name: str, key: Key) -> None:
        process = self._process(pid)
        self._flows.sealed(key, process.why)
        library = process.library_for(name)
        if library is not None:
            self._flows.looked_into(key, library)
        else:
            process.waiting.append((name, key))
            self._hold_one()

    def _process(self, pid: int) -> _Process:
        process = self._processes.setdefault(pid, _Process())
        self._processes.move_to_end(pid)
        if len(self._processes) > _PROCESSES:
            self.forget(next(iter(self._processes)))
        return process

    def _hold_one(self) -> None:
        self._held += 1
        while self._held > _CONNECTIONS:
            self.forget(next(iter(self._processes)))


def _fits(one: str, other: str) -> bool:
    return not one or not other or one == other


__all__ = ["Cover", "Inspection", "cover_of"]
