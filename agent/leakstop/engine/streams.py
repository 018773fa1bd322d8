# SPDX-License-Identifier: MIT
"""A connection and what it turns out to be, counted as one.

The kernel tells of a connection when it is made, and again when its stream shows something else
than a rule asks for. The second says more, so its record takes the place of the first.
"""

from __future__ import annotations

from collections import OrderedDict

from leakstop.engine.flows import Flows, Key
from leakstop.engine.lineage import Step
from leakstop.model.event import Connect, StreamSeen, Write
from leakstop.model.flow import Transport
from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Action, Reason

_LIMIT = 2048
"""Connections that may still show something: most never do, and the oldest are forgotten first.
What a stream shows is in its first packets, so there need not be many.
One that was forgotten and then does is counted twice."""

_End = tuple[int, str, int]
"""Process, address and port: which of several connections between them shows itself first is
not told, and does not matter, since they are counted alike."""


class Streams:
    """The TCP connections of a job, until each has shown itself."""

    def __init__(self, flows: Flows, limit: int = _LIMIT) -> None:
        self._flows = flows
        self._limit = limit
        self._silent: OrderedDict[_End, list[Key]] = OrderedDict()
        self._silent_count = 0
        self._shown: OrderedDict[int, Key] = OrderedDict()

    def connected(self, event: Connect, record: FlowRecord, step: Step) -> Key:
        """Count a connect or a send; a TCP connection may show itself later."""
        key = self._flows.add(record, step)
        mute = event.reason in (Reason.LOCAL, Reason.RESOLVER) or record.applied is Action.DENY
        if event.transport is not Transport.TCP or mute:
            return key
        end = (event.pid, event.ip, event.port)
        self._silent.setdefault(end, []).append(key)
        self._silent.move_to_end(end)
        self._silent_count += 1
        if self._silent_count > self._limit:
            self._take(next(iter(self._silent)))
        return key

    def showed(self, event: StreamSeen, record: FlowRecord, step: Step) -> tuple[Key, Key | None]:
        """Count what a connection shows: not again, if it is what it has shown before.

        Returns what it is counted under, and what it was before if nothing was known of it then.
        """
        key = self._flows.key(record, step)
        before = self._shown.get(event.cookie) if event.cookie else None
        connect = None
        if before is None:
            connect = self._take((event.pid, event.ip, event.port))
            if connect is not None:
                self._flows.take_back(connect)
        if before != key:
            self._flows.add(record, step)
        if event.cookie:
            self._shown[event.cookie] = key
            self._shown.move_to_end(event.cookie)
            if len(self._shown) > self._limit:
                self._shown.popitem(last=False)
        return key, connect

    def under(self, event: Write) -> Key | None:
        """What the connection that is written to is counted under, if that is remembered."""
        silent = self._silent.get((event.pid, event.ip, event.port), ())
        return self._shown.get(event.cookie) or next(iter(silent), None)

    def _take(self, end: _End) -> Key | None:
        """Take out the oldest connection between these two."""
        keys = self._silent.get(end)
        if keys is None:
            return None
        key = keys.pop(0)
        self._silent_count -= 1
        if not keys:
            del self._silent[end]
        return key


__all__ = ["Streams"]
