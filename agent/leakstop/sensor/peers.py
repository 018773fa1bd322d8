# SPDX-License-Identifier: MIT
"""With whom each process is connected, as far as events tell: where a TLS object leads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace

from leakstop.engine.names import Names
from leakstop.model.channel import Tie
from leakstop.model.event import Answer, Connect, Event, Exit, Fork, StreamSeen, TlsSeen
from leakstop.model.flow import Flow, Stream, Transport
from leakstop.model.verdict import Action

_MAX_PROCESSES = 4096
_MAX_PEERS = 64
"""Of one process, the latest."""
_MAX_GONE = 1024
"""Processes that have ended: what they sent is looked through a little later."""
_MAX_OBJECTS = 8192
_MAX_NAMES = 8
"""Of objects at the same address, one after the other."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection."""

    ip: str = ""
    port: int = 0
    name: str = ""
    """That the connection shows."""
    stream: Stream = Stream.UNSEEN
    cookie: int = 0


class Peers:
    """Remembers connections and the names of TLS objects; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._peers: OrderedDict[int, dict[tuple[str, int, int], Peer]] = OrderedDict()
        self._gone: OrderedDict[int, None] = OrderedDict()
        self._hosts: OrderedDict[tuple[int, int], tuple[tuple[int, str], ...]] = OrderedDict()
        self._names = Names()

    def see(self, event: Event) -> None:
        """Learn from an event."""
        if isinstance(event, Answer):
            self._names.answered(event)
        elif isinstance(event, Fork):
            self._gone.pop(event.pid, None)
            self._peers[event.pid] = dict(self._peers.get(event.ppid, {}))
            self._bound()
        elif isinstance(event, Exit):
            self._ended(event.pid)
        elif isinstance(event, Connect):
            if event.transport is Transport.TCP and event.applied is Action.ALLOW and event.ip:
                self._add(event.pid, Peer(event.ip, event.port))
        elif isinstance(event, StreamSeen):
            if event.applied is Action.ALLOW:
                self._peers.get(event.pid, {}).pop((event.ip, event.port, 0), None)
                peer = Peer(event.ip, event.port, event.name, event.stream, event.cookie)
                self._add(event.pid, peer)
        elif isinstance(event, TlsSeen):
            key, named = (event.pid, event.object), (event.ts_ns, event.name.lower())
            self._hosts[key] = (*self._hosts.pop(key, ()), named)[-_MAX_NAMES:]
            if len(self._hosts) > _MAX_OBJECTS:
                self._hosts.popitem(last=False)

    def of_object(
        self, pid: int, address: int, began_ns: int, hosts: Collection[str]
    ) -> tuple[Tie, str, tuple[Peer, ...]]:
        """Where the TLS object at ``address`` may lead, how that is known, and for which host.

        ``began_ns`` is when it was written to first: others may have been there since.
        ``hosts`` are those that the requests name which it sends. An object without a name
        is for one of them; without either, for any that the process is connected with.
        """
        named = self._hosts.get((pid, address), ())
        name = next((name for ts_ns, name in reversed(named) if ts_ns <= began_ns), "")
        peers = tuple(self._peers.get(pid, {}).values())
        same = tuple(self._shown(peer, name) for peer in peers if self._leads(peer, {name}))
        if same:
            return Tie.NAME, name, same
        if not peers:
            return Tie.NONE, name, ()
        encrypted = tuple(peer for peer in peers if peer.stream is not Stream.HTTP)
        asked = tuple(peer for peer in encrypted if not name and self._leads(peer, hosts))
        return Tie.FLOWS, name, asked or encrypted or peers

    def of_socket(self, pid: int, cookie: int, ip: str, port: int) -> Peer:
        """The other end of the socket with ``cookie``."""
        peers = self._peers.get(pid, {})
        return peers.get((ip, port, cookie), Peer(ip, port, cookie=cookie))

    def flow(self, peer: Peer, transport: Transport) -> Flow:
        """What a policy judges."""
        led = self._names.of(peer.ip)
        return Flow(transport, peer.port, peer.ip, led, peer.stream, peer.name)

    def _leads(self, peer: Peer, hosts: Collection[str]) -> bool:
        """What a connection shows is told only if there is something to say of it."""
        led = (peer.name,) if peer.name else self._names.of(peer.ip)
        return any(host in hosts for host in led)

    def _shown(self, peer: Peer, name: str) -> Peer:
        return peer if peer.name else replace(peer, name=name, stream=Stream.TLS)

    def _add(self, pid: int, peer: Peer) -> None:
        peers = self._peers.setdefault(pid, {})
        self._peers.move_to_end(pid)
        peers[peer.ip, peer.port, peer.cookie] = peer
        if len(peers) > _MAX_PEERS:
            del peers[next(iter(peers))]
        self._bound()

    def _ended(self, pid: int) -> None:
        if not self._peers.get(pid):
            self._peers.pop(pid, None)
            return
        self._gone[pid] = None
        if len(self._gone) > _MAX_GONE:
            self._peers.pop(self._gone.popitem(last=False)[0], None)

    def _bound(self) -> None:
        while len(self._peers) > _MAX_PROCESSES:
            self._peers.popitem(last=False)


__all__ = ["Peer", "Peers"]
