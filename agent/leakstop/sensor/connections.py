# SPDX-License-Identifier: MIT
"""Connections as a snapshot shows them, and which of them are new and outbound."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from leakstop.model.flow import Transport
from leakstop.policy.match import to_address
from leakstop.sensor.heard import Opened


@dataclass(frozen=True, slots=True)
class Connection:
    """A socket that has, or waits for, a peer."""

    pid: int
    """0 when no process holds it any more, or it belongs to somebody else."""
    transport: Transport
    local_port: int
    ip: str
    """The peer's, v4-mapped addresses as IPv4; empty for a socket without one."""
    port: int


_Key = tuple[Transport, int, str, int]
_MAX_OPENED = 4_096
"""Connections seen on the wire that are kept until a snapshot may show them once more."""


class Connections:
    """Tells new outbound connections from old and inbound ones."""

    def __init__(self, *, whole_machine: bool) -> None:
        """``whole_machine``: also report connections that no process holds any more.

        A connection that was closed between two looks stays visible for a minute, in
        TIME_WAIT, without its process. Where only some processes are watched it may be
        anybody's.
        """
        self._ownerless = whole_machine
        self._known: set[_Key] = set()
        self._opened: dict[_Key, None] = {}

    def remember(self, snapshot: Iterable[Connection]) -> None:
        """Take everything in ``snapshot`` as old."""
        self._known = {_key(item) for item in snapshot}

    def fresh(self, snapshot: Sequence[Connection]) -> list[Connection]:
        """The outbound connections that the last snapshot did not have."""
        # A peer of a port on which this machine listens came to us.
        served = {(item.transport, item.local_port) for item in snapshot if not item.ip}
        found: dict[_Key, Connection] = {}
        for item in snapshot:
            inbound = (
                item.transport is Transport.TCP and (item.transport, item.local_port) in served
            )
            if item.ip and not inbound and (item.pid or self._ownerless):
                found.setdefault(_key(item), item)
        old = self._known | self._opened.keys()
        self._known = {_key(item) for item in snapshot}
        return [item for key, item in found.items() if key not in old]

    def begun(self, opened: Iterable[Opened]) -> list[Opened]:
        """Those that the wire saw for the first time. In a later snapshot they are old."""
        found = []
        for message in opened:
            key = (Transport.TCP, message.local_port, message.ip, message.port)
            # A packet that is sent again, or that passes two interfaces.
            if key not in self._opened and key not in self._known:
                self._opened[key] = None
                found.append(message)
        while len(self._opened) > _MAX_OPENED:
            del self._opened[next(iter(self._opened))]
        return found


def read_connections() -> list[Connection]:
    """All internet sockets that this user may see."""
    return [_connection(item.pid or 0, item) for item in psutil.net_connections("inet")]


def _connection(pid: int, item: Any) -> Connection:
    transport = Transport.TCP if item.type == socket.SOCK_STREAM else Transport.UDP
    local_port = item.laddr.port if item.laddr else 0
    ip, port = (item.raddr.ip, item.raddr.port) if item.raddr else ("", 0)
    address = to_address(ip.partition("%")[0])
    return Connection(pid, transport, local_port, str(address or ""), port)


def _key(connection: Connection) -> _Key:
    return connection.transport, connection.local_port, connection.ip, connection.port


__all__ = ["Connection", "Connections", "read_connections"]
