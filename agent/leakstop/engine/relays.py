# SPDX-License-Identifier: MIT
"""Who may be behind a program that sends: it listens on this machine, and somebody came.

A relay on loopback (a proxy, a tunnel, a build daemon) sends in its own name what others gave
it. Nothing ties a byte that comes in to one that goes out, so this says who was there last,
and a report says "perhaps".
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from leakstop.engine.lineage import Identity, Lineage, brief
from leakstop.model.event import Bound, Connect
from leakstop.model.flow import Transport
from leakstop.model.process import ProcessView
from leakstop.model.verdict import Reason

_LIMIT = 1024
"""Ports, and relays. The oldest are forgotten first: then only the relay is named."""
_ANY = ("0.0.0.0", "::")

K = TypeVar("K")
V = TypeVar("V")


class Relays:
    """The listeners of a job, and who came to them last."""

    def __init__(self, lineage: Lineage, limit: int = _LIMIT) -> None:
        self._lineage = lineage
        self._limit = limit
        self._bound: OrderedDict[tuple[str, int], Identity] = OrderedDict()
        self._clients: OrderedDict[Identity, ProcessView] = OrderedDict()

    def bound(self, event: Bound) -> None:
        """Learn who is behind a port."""
        _keep(self._bound, (event.ip, event.port), self._lineage.identity(event.pid), self._limit)

    def connected(self, event: Connect) -> None:
        """Learn who came to a port of this machine."""
        if event.reason is not Reason.LOCAL or event.transport is not Transport.TCP:
            return
        for place in (event.ip, *_ANY):
            relay = self._bound.get((place, event.port))
            # What a server started may work for it: it is no stranger who came from outside.
            if relay is not None and relay not in self._lineage.line(event.pid):
                client = brief(self._lineage.view(event.pid))
                _keep(self._clients, relay, client, self._limit)
                return

    def client_of(self, pid: int) -> ProcessView | None:
        """Return who came last to ``pid``, or to the one that started it to serve."""
        if not self._clients:
            return None
        for relay in self._lineage.line(pid):
            if relay in self._clients:
                return self._clients[relay]
        return None


def _keep(table: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    """Set an entry; the one that was set longest ago goes when there are too many."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > limit:
        table.popitem(last=False)


__all__ = ["Relays"]
