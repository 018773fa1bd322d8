# SPDX-License-Identifier: MIT
"""Says whose TLS cannot be looked into."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from leakstop.model.coverage import Loss
from leakstop.model.event import Connect, Event, Exec, Exit, Opaque, StreamSeen, TlsSeen
from leakstop.model.flow import Stream, Transport
from leakstop.model.verdict import Action, Reason
from leakstop.sensor.timer import now_ns
from leakstop.sensor.tls.coverage import Coverage
from leakstop.sensor.tls.files import opened
from leakstop.sensor.tls.functions import UNKNOWN
from leakstop.sensor.tls.gate import Gate
from leakstop.sensor.tls.mappings import Mapped
from leakstop.sensor.tls.probes import Attach, Inherited

UNWATCHED_NOTE = (
    "This kernel does not tell what programs map: TLS libraries that are not installed were looked "
    "for when a process started and when it connected."
)
JAVA = "Java's own TLS"
LATE = "its TLS library had only just appeared"

_JVM = b"/libjvm.so"
_HTTPS = 443
_TO_TURN_UP_NS = 300_000_000
"""A library may be loaded when the connection stands."""
_EXEC_NS = 5_000_000
"""A new image is mapped just before it is announced: later, where hearing of it took the processor
from who runs it, and then its path tells."""


class TlsFollower:
    """Attaches at start to what is installed, later to whatever is mapped."""

    def __init__(self, attach: Attach, cgroup: Path, gate: Gate, inherited: Inherited) -> None:
        self._coverage = Coverage(attach, cgroup, gate, inherited)
        self._watched = False
        self._judged: set[int] = set()
        self._expected: dict[int, int] = {}
        """Process to when it connected, where nothing was found in it yet."""

    def start(self) -> tuple[str, ...]:
        """Attach to what is there."""
        try:
            refused = self._coverage.start()
        except OSError:
            return (UNWATCHED_NOTE,)
        self._watched = True
        return tuple(f"The kernel refused to look into {name}." for name in refused)

    def wake(self, _epoll: int) -> None:
        """Nothing: what is mapped wakes a thread of its own."""

    def see(self, event: Event) -> Iterable[Event]:
        """Judge who opens a TLS connection; without a watch, look at who starts and connects."""
        if not self._watched and isinstance(event, (Exec, Connect)):
            self._coverage.look_at(event.pid)
        if isinstance(event, TlsSeen):
            self._settle(event.pid)
        elif isinstance(event, StreamSeen) and event.stream is Stream.TLS:
            return self._judge(event.pid, event.ts_ns, said_hello=True)
        elif isinstance(event, Connect) and _may_be_tls(event):
            self._expect(event)
        elif isinstance(event, (Exec, Exit)):
            return self._leave(event)
        return ()

    def follow(self) -> Iterable[Event]:
        """Say what could not be attached to, and whose library did not turn up."""
        now = now_ns()
        if failed := self._coverage.failures():
            yield Loss(now, "probes", failed)
        due = [pid for pid, ts_ns in self._expected.items() if now - ts_ns > _TO_TURN_UP_NS]
        for pid in due:
            yield from self._judge(pid, self._expected[pid])

    def close(self) -> None:
        """Detach everything."""
        self._coverage.close()

    # -- who is opaque ------------------------------------------------------------------

    def _expect(self, event: Connect) -> None:
        """A connection to where its rule leads shows itself to the kernel only."""
        if event.pid in self._judged:
            return
        if any(since_ns for _, since_ns in self._coverage.look_at(event.pid)):
            self._settle(event.pid)
        else:
            self._expected.setdefault(event.pid, event.ts_ns)

    def _leave(self, event: Exec | Exit) -> Iterable[Event]:
        """An image ends."""
        expected_ns = self._expected.get(event.pid)
        found = self._judge(event.pid, expected_ns) if expected_ns is not None else ()
        self._judged.discard(event.pid)
        last = self._coverage.last_of(event.pid)
        if last is not None and (isinstance(event, Exit) or not _is_of(last[0], event)):
            self._coverage.forget(event.pid)
        return found

    def _judge(self, pid: int, ts_ns: int, *, said_hello: bool = False) -> Iterable[Event]:
        """Say once of a program's image that its TLS cannot be looked into."""
        if pid in self._judged:
            return ()
        self._settle(pid)
        maps = self._coverage.look_at(pid)
        since = [since_ns for _, since_ns in maps if since_ns]
        last = self._coverage.last_of(pid)
        if not maps and last is not None:
            since.append(last[1])
        if since and (not said_hello or min(since) <= ts_ns):
            return ()
        why = LATE if since else _why(pid, [mapped for mapped, _ in maps])
        return (Opaque(ts_ns, pid, why),)

    def _settle(self, pid: int) -> None:
        self._judged.add(pid)
        self._expected.pop(pid, None)


def _is_of(mapped: Mapped, image: Exec) -> bool:
    itself = bool(image.program) and mapped.path == os.fsencode(image.program)
    return itself or mapped.ts_ns >= image.ts_ns - _EXEC_NS


def _may_be_tls(event: Connect) -> bool:
    return (
        event.transport is Transport.TCP
        and event.port == _HTTPS
        and event.applied is Action.ALLOW
        and event.reason is not Reason.LOCAL
    )


def _why(pid: int, maps: Iterable[Mapped]) -> str:
    if any(mapped.path.endswith(_JVM) for mapped in maps):
        return JAVA
    with opened(Path(f"/proc/{pid}/exe")) as program:
        return program.why_unknown() if program else UNKNOWN


__all__ = ["JAVA", "LATE", "UNWATCHED_NOTE", "TlsFollower"]
