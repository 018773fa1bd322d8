# SPDX-License-Identifier: MIT
"""Looks through what connections send first, behind encodings that the kernel does not know.

The kernel has scanned every byte before it left; here its copy of the first ones is unwrapped
(``secrets/unwrap``), some time after. What is found has been sent, so that the process is ended
and the job is red, and no more. Nothing that was read here leaves this module but names.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from leakstop.bpf.libbpf import BpfError
from leakstop.bpf.records import PLAINTEXT_COPY, EventPlaintext
from leakstop.model.channel import Channel, Library
from leakstop.model.coverage import Loss
from leakstop.model.event import Event, Exec, Exit, SecretFound, SecretHit, Write
from leakstop.secrets.encodings import RAW
from leakstop.secrets.needles import NeedleTable
from leakstop.secrets.shapes import Shape, find_shapes
from leakstop.secrets.unwrap import Layer, http2, split, unwrap
from leakstop.sensor.assembly import Assembly, Sent, Source
from leakstop.sensor.decode import ip_text
from leakstop.sensor.finds import Finds
from leakstop.sensor.peers import Peers
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.timer import Timer, now_ns
from leakstop.sensor.waking import join

QUIET_S = 0.1
"""A connection that sent nothing for so long has said what it had to say, for now."""
MANY = 16 << 10
"""So many new bytes are looked through sooner,"""
_SETTLED_S = 0.02
"""but not before the kernel's own word on them has arrived."""
_PATIENCE_S = 0.5
"""So long something may wait that never falls silent."""
WATCHED = 256 << 10
"""So much is handed on of a connection that looks suspicious."""
KEPT_S = 30.0
"""A part of a secret waits so long for the next one."""

_SLICE_S = 0.01
"""Of each waking, and as long a pause after it: half a core at most, and events come first."""
_LAST_SLICE_S = 0.1
"""For processes that have ended: the job may be over, and nobody will ask again."""
_MAX_TOLD = 8192

NOTE = (
    "Headers of HTTP/2 were looked through only for the usual encodings: the package hpack is not "
    "installed."
)

_HOST = re.compile(rb"^(?:host|:authority):[ \t]*([^\s:]{1,253})", re.IGNORECASE | re.MULTILINE)
_CHANNELS = tuple(Channel)
_LIBRARIES = tuple(Library)


class Pieces(Protocol):
    """The ring of what connections send."""

    def fileno(self) -> int:
        """Readable when there is something."""

    def consume(self) -> None:
        """Hand over what is there."""

    def close(self) -> None:
        """Stop reading."""


class Inspector:
    """A ``Follower``."""

    def __init__(
        self,
        plan: GuardPlan,
        open_ring: Callable[[Callable[[int, int], None]], Pieces],
        needles: Callable[[], NeedleTable],
        watch: Callable[[int, int], None],
    ) -> None:
        """``needles`` is asked each time: secrets are found while the job runs. ``watch`` has the
        kernel hand on so many bytes of a stream."""
        self._plan = plan
        self._needles = needles
        self._watch = watch
        self._peers = Peers()
        self._finds = Finds(plan, self._peers)
        self._assembly = Assembly()
        self._told: OrderedDict[tuple[int, int], set[str]] = OrderedDict()
        self._ended: dict[int, int] = {}
        self._work: Iterator[Event | None] | None = None
        self._next_s = 0.0
        self._lost = False
        self._ring: Pieces | None = open_ring(self._take)
        self._timer: Timer | None = Timer()

    # -- a follower ---------------------------------------------------------------------

    def start(self) -> tuple[str, ...]:
        """Nothing has to be begun: the ring fills from the moment of attaching."""
        return () if http2.READS_HEADERS else (NOTE,)

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up for pieces, and when it is time to look."""
        join(epoll, *(source for source in (self._ring, self._timer) if source is not None))

    def see(self, event: Event) -> Iterable[Event]:
        """Learn who is connected with whom, and what the kernel has said already."""
        self._peers.see(event)
        if isinstance(event, Write):
            told = self._told.setdefault((event.pid, event.object or event.cookie), set())
            told.update(hit.secret for hit in event.hits)
            if len(self._told) > _MAX_TOLD:
                self._told.popitem(last=False)
        elif isinstance(event, SecretFound):
            self._finds.learn(event)
        elif isinstance(event, (Exit, Exec)):
            self._ended[event.pid] = event.ts_ns
        return ()

    def follow(self) -> Iterable[Event]:
        """Look for a while through what is ready, and say what was found."""
        if self._ring is None or self._timer is None:
            return ()
        self._timer.clear()
        with contextlib.suppress(BpfError):  # the next time again
            self._ring.consume()
        ended = self._end()
        began = time.monotonic()
        events = self._advance(began + (_LAST_SLICE_S if ended else _SLICE_S))
        if self._assembly.dropped and not self._lost:
            self._lost = True
            events.append(Loss(now_ns(), "plaintexts", self._assembly.dropped))
        self._timer.set(_SLICE_S if self._work else self._next_s - time.monotonic())
        return events

    def close(self) -> None:
        """Let go of everything."""
        for source in (self._ring, self._timer):
            if source is not None:
                source.close()
        self._ring = self._timer = self._work = None
        self._assembly = Assembly()

    # -- what comes ---------------------------------------------------------------------

    def _take(self, address: int, size: int) -> None:
        start = EventPlaintext.bytes.offset
        if size < start:
            return
        head = EventPlaintext()
        ctypes.memmove(ctypes.addressof(head), address, start)
        if head.channel >= len(_CHANNELS) or head.library >= len(_LIBRARIES):
            return
        data = ctypes.string_at(address + start, min(head.len, size - start, PLAINTEXT_COPY))
        channel = _CHANNELS[head.channel]
        ip = "" if channel is Channel.TLS else ip_text(bytes(head.ip))
        library = _LIBRARIES[head.library]
        source = Source(head.head.pid, head.stream, channel, library, ip, head.port)
        sent = self._assembly.add(source, head.offset, data, head.head.ts, time.monotonic())
        self._next_s = min(self._next_s, _due_s(sent))

    def _end(self) -> bool:
        """Note whose connections have nothing to come; whether there are any.

        Of those only all is known that came before: a piece may be younger than the last event.
        """
        ended, self._ended = self._ended, {}
        found = False
        for sent in self._assembly if ended else ():
            if sent.sent_ns <= ended.get(sent.source.pid, -1):
                sent.ended = found = True
        if found:
            self._next_s = 0.0
        return found

    # -- looking ------------------------------------------------------------------------

    def _advance(self, until_s: float) -> list[Event]:
        events: list[Event] = []
        while (now := time.monotonic()) < until_s:
            if self._work is None:
                sent = self._ready(now)
                if sent is None:
                    break
                self._work = self._look(sent)
            try:
                event = next(self._work)
            except StopIteration:
                self._work = None
                continue
            if event is not None:
                events.append(event)
        return events

    def _ready(self, now: float) -> Sent | None:
        """One that is to be looked through now. Those that need not be kept any more go."""
        if now < self._next_s:
            return None
        self._next_s = now + KEPT_S
        for sent in self._assembly:
            due = _due_s(sent)
            if sent.fresh and due <= now:
                self._next_s = 0.0  # there may be others
                return sent
            if due <= now:
                self._assembly.drop(sent)
            else:
                self._next_s = min(self._next_s, due)
        return None

    def _look(self, sent: Sent) -> Iterator[Event | None]:
        """A layer at each step."""
        table, runs = self._needles(), [bytes(run) for run in sent.runs]
        sent.looked = sent.size
        hidden = 0
        hosts: set[str] = set()
        judged: set[str] = set()  # what lies open the kernel has judged, knowing the socket
        hits: dict[str, SecretHit] = {}
        shapes: dict[str, Shape] = {}
        for layer in (layer for run in runs for layer in unwrap(run)):
            if not layer.path or layer.path[-1] == http2.HTTP2:
                hosts.update(host.decode("ascii", "replace").lower() for host in _hosts(layer))
            for hit in table.scan(layer.data):
                if layer.path:
                    hits.setdefault(hit.secret, SecretHit(hit.secret, _written(layer, hit)))
                else:
                    judged.add(hit.secret)
            for shape in _shapes(layer):
                if not table.scan(shape.value):
                    shapes.setdefault(shape.form.kind, shape)
            if layer.encodings:
                hidden = max(hidden, len(layer.data))
            yield None
        said = judged | sent.told | self._told.get((sent.source.pid, sent.source.stream), set())
        sent.told.update(hits)
        if news := tuple(hit for name, hit in hits.items() if name not in said):
            yield self._finds.write(sent, news, hosts)
        for kind in shapes.keys() - said:
            sent.told.add(kind)
            yield self._finds.shape(sent, shapes[kind], hosts)
        if sent.size >= MANY and hidden > sent.size // 2 and not sent.watched:
            self._suspect(sent, hosts)

    def _suspect(self, sent: Sent, hosts: set[str]) -> None:
        """Most of it hides something: where that is strange, more of it is looked through."""
        sent.watched = True
        if self._finds.is_strange(sent, hosts):
            with contextlib.suppress(BpfError):
                self._watch(sent.source.stream, WATCHED)


def _due_s(sent: Sent) -> float:
    """When to look through it; of one that was, when to let go of it."""
    if sent.ended:
        return 0.0
    if not sent.fresh:
        return sent.last_s + KEPT_S
    # It is looked through from its beginning each time, so the more there is, the less often.
    patience = 1 + sent.looked / MANY
    if sent.fresh >= max(MANY, sent.looked):
        return min(sent.last_s + _SETTLED_S, sent.first_s + _PATIENCE_S)
    return min(sent.last_s + QUIET_S * patience, sent.first_s + _PATIENCE_S * patience)


def _shapes(layer: Layer) -> tuple[Shape, ...]:
    """Tokens in it. What was put together from parts may look like one and be none."""
    return () if split.SPLIT in layer.path else find_shapes(layer.data)


def _hosts(layer: Layer) -> list[bytes]:
    return _HOST.findall(layer.data)


def _written(layer: Layer, hit: SecretHit) -> str:
    """The way to the secret, from the outside in."""
    inner = () if hit.encoding == RAW else (hit.encoding,)
    return " > ".join((*layer.path, *inner))


__all__ = ["KEPT_S", "MANY", "NOTE", "QUIET_S", "WATCHED", "Inspector", "Pieces"]
