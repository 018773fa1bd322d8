# SPDX-License-Identifier: MIT
"""Watch without the kernel's help: a container without privileges, an old kernel, no root.

Four times a second the processes and their connections are read from /proc (psutil). Where
packets may be read, each DNS message and each new TCP connection is seen as well (scapy), and
is a reason for a glance at the youngest processes: whoever speaks is mostly one of them.
Nothing can be stopped, and what is shorter than the pause between two looks may go unseen:
the report says so.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from leakstop.bpf.sockdiag import SockDiag
from leakstop.model.coverage import Loss
from leakstop.model.event import (
    Event,
    Exec,
    Exit,
    Fork,
    ProcessSeen,
    SecretHit,
    Started,
    StepSeen,
)
from leakstop.model.flow import Transport
from leakstop.model.verdict import Mode
from leakstop.secrets.inventory import Secret
from leakstop.sensor import proc, steps
from leakstop.sensor.assess import Assessor
from leakstop.sensor.connections import Connection, Connections, read_connections
from leakstop.sensor.heard import Answered, Asked, Message, Opened
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.timer import Timer, now_ns
from leakstop.sensor.wire import Wire, open_wire

INTERVAL_S = 0.25
"""Pause between two looks."""

_BUSY = 4
"""A look that took t is not repeated within 4 t, a glance not within t: a fifth of a core, and
half of one while packets keep coming."""
_DNS_PORT = 53
_YOUNGEST = 32
"""Processes whose sockets are read at a glance."""
_SPEAKING_S = 0.05
"""After something was heard, more may follow; a whole look then comes at the wrong time."""
_UNKNOWN_STATUS = 0
"""A parent learns how its child ended; nobody else does."""

_NOTES = (
    "Processes and connections were looked at 4 times a second; shorter ones may be missing.",
    "UDP was seen as DNS, and from sockets that are connected.",
    "Nothing could have been stopped: this sensor only observes.",
    "Only declared secrets were looked for.",
    "Other containers, and what other users' processes do, may be out of sight.",
)


@dataclass(slots=True)
class _Seen:
    """A process that is being watched."""

    process: proc.Process
    hits: tuple[SecretHit, ...]

    @property
    def image(self) -> tuple[str, tuple[bytes, ...]]:
        """Which program it is."""
        return self.process.exe, self.process.argv


class PortableSensor:
    """Observes by polling. The same interface as the kernel sensor's."""

    def __init__(self, plan: GuardPlan) -> None:
        self._plan = plan
        self._assess = Assessor(plan)
        self._watched: dict[int, _Seen] = {}
        self._connections = Connections(whole_machine=plan.root_pid == 0)
        self._timer: Timer | None = None
        self._wire: Wire | None = None
        self._diag: SockDiag | None = None
        self._epoll: select.epoll | None = None
        self._first: list[Event] = []
        self._outside: frozenset[int] = frozenset()
        self._client: proc.Process | None = None
        self._next_look_s = self._next_glance_s = self._spoken_s = 0.0
        self.notes: tuple[str, ...] = _NOTES
        """What cannot be seen, in whole sentences; complete once started."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What was declared: this sensor finds none."""
        return self._plan.secrets

    def start(self) -> None:
        """Begin to watch. What runs already is listed, not judged.

        Raises:
            OSError: the process has no file descriptors left.
        """
        self._wire, reason = open_wire()
        if self._wire is None:
            self.notes += (f"DNS was not seen, so connections have no names: {reason}.",)
        with contextlib.suppress(OSError):  # not in every sandbox
            self._diag = SockDiag()
        self._timer = Timer(INTERVAL_S)
        self._epoll = select.epoll()
        for source in (self._timer, self._wire):
            if source is not None:
                self._epoll.register(source.fileno(), select.EPOLLIN)
        self._client = proc.read(self._plan.root_pid) if self._plan.root_pid else None
        self._first = [self._started(), *self._present()]
        self._connections.remember(read_connections())

    def fileno(self) -> int:
        """Readable when it is time to look again, or when something was said on the wire."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def poll(self, timeout_s: float) -> Iterator[Event]:
        """What happened since the last call; waits up to ``timeout_s`` for something."""
        if self._epoll is None or self._timer is None:
            return
        first, self._first = self._first, []
        yield from first
        ready = {descriptor for descriptor, _ in self._epoll.poll(0 if first else timeout_s)}
        if self._wire is not None and self._wire.fileno() in ready:
            yield from self._listen(self._wire)
        now = time.monotonic()
        quiet = now >= self._spoken_s + _SPEAKING_S
        if now >= self._next_look_s and (quiet or self._timer.fileno() in ready):
            yield from self._look()
        self._timer.clear()

    def look(self) -> None:
        """Nothing is in force that could be taken off."""

    def close(self) -> None:
        """Stop watching. Can be called twice, and before ``start``."""
        for source in (self._wire, self._diag, self._timer, self._epoll):
            if source is not None:
                source.close()
        self._wire = self._diag = self._timer = self._epoll = None

    # -- looking ------------------------------------------------------------------------

    def _look(self) -> Iterator[Event]:
        """At everything there is."""
        began = time.monotonic()
        snapshot = read_connections()
        yield from self._census()
        for connection in self._connections.fresh(snapshot):
            yield from self._connect(connection)
        now = time.monotonic()
        self._next_look_s = now + (now - began) * _BUSY

    def _listen(self, wire: Wire) -> Iterator[Event]:
        """To the wire, and at who is speaking, while there is somebody to be seen."""
        time.sleep(max(0.0, self._next_glance_s - time.monotonic()))
        began = time.monotonic()
        # Everything is fetched before anything is judged: a short program has a millisecond left.
        packets = wire.receive()
        newcomers = self._newcomers()
        holders = self._holders(newcomers)
        heard = [(message, self._speaker(message, holders)) for message in wire.read(packets)]
        # Who was known before may be another program by now, with a secret that it had not then.
        known = map(self._again, {pid for _, pid in heard} & self._watched.keys())
        for process in (*newcomers, *filter(None, known)):
            yield from self._admit(process)
        for message, pid in heard:
            yield from self._message(message, pid)
        if lost := wire.lost():
            yield Loss(now_ns(), "packets", lost)
        self._spoken_s = time.monotonic()
        self._next_glance_s = self._spoken_s + (self._spoken_s - began)

    def _message(self, message: Message, pid: int) -> Iterator[Event]:
        if isinstance(message, Answered):
            learned = self._assess.answer(message)
            if learned is not None:
                yield learned
        elif isinstance(message, Asked):
            question = self._assess.question(message, pid, self._hits_of(pid))
            if self._is_ours(pid):
                yield question
        else:
            for new in self._connections.begun([message]):
                tcp = Transport.TCP
                yield from self._connect(Connection(pid, tcp, new.local_port, new.ip, new.port))

    def _connect(self, connection: Connection) -> Iterator[Event]:
        if self._is_ours(connection.pid):
            yield self._assess.connect(connection, self._hits_of(connection.pid))

    def _is_ours(self, pid: int) -> bool:
        """Whether to report what ``pid`` did; 0 is somebody who was gone when we looked.

        A neighbour's question too many is better than the one with the secret missing.
        """
        return pid in self._watched or pid == 0

    def _hits_of(self, pid: int) -> tuple[SecretHit, ...]:
        seen = self._watched.get(pid)
        return seen.hits if seen is not None else ()

    # -- processes ----------------------------------------------------------------------

    def _census(self) -> Iterator[Event]:
        """Who has come, gone, or become another program."""
        pids = frozenset(proc.pids())
        alive = self._within(pids)
        current = {process.pid: process for process in alive}
        for pid, seen in list(self._watched.items()):
            process = current.get(pid)
            if process is None or process.start_ns != seen.process.start_ns:
                del self._watched[pid]
                yield Exit(now_ns(), pid, _UNKNOWN_STATUS)
        for process in alive:
            yield from self._admit(process)
        self._outside = pids - self._watched.keys()

    def _newcomers(self) -> list[proc.Process]:
        """Only who has come, in a fraction of the time."""
        known = self._watched.keys() | self._outside
        return self._within(pid for pid in proc.pids() if pid not in known)

    def _holders(self, newcomers: Iterable[proc.Process]) -> dict[int, int]:
        """Sockets (inodes) of the youngest processes."""
        processes = [*newcomers, *(seen.process for seen in self._watched.values())]
        youngest = sorted(processes, key=_by_age, reverse=True)[:_YOUNGEST]
        return {inode: one.pid for one in reversed(youngest) for inode in proc.sockets(one.pid)}

    def _speaker(self, message: Message, holders: Mapping[int, int]) -> int:
        """The process that holds the socket; 0 if it is gone, or a neighbour we cannot see."""
        if isinstance(message, Answered) or self._diag is None:
            return 0
        if isinstance(message, Opened):
            transport, port = Transport.TCP, message.local_port
            ends = (message.local_ip, port), (message.ip, message.port)
        else:
            transport, port = Transport.UDP, message.port
            ends = (message.ip, port), (message.resolver, _DNS_PORT)
        inode = self._diag.inode(transport, *ends)
        if inode in holders or not inode:
            return holders.get(inode, 0)
        # Held, but not by one of the youngest: the long way.
        return next(
            (
                item.pid
                for item in read_connections()
                if (item.transport, item.local_port) == (transport, port)
            ),
            0,
        )

    def _admit(self, process: proc.Process) -> Iterator[Event]:
        before = self._watched.get(process.pid)
        if before is None:
            yield Fork(now_ns(), process.pid, process.ppid, process.start_ns)
            yield from self._step(process)
            # Not yet another program than its parent's.
            before = self._watched.get(process.ppid)
        if before is None or before.image != (process.exe, process.argv):
            yield self._exec(process)
        else:
            self._watched[process.pid] = _Seen(process, before.hits)

    def _within(self, pids: Iterable[int]) -> list[proc.Process]:
        """Those of ``pids`` to watch, parents first: all, or ``root_pid``'s descendants.

        Never this process, nor those with which ``root_pid`` does its own work. A descendant
        stays one when its parent ends and it is given to another. Without arguments are kernel
        threads, and processes that have ended but were not waited for.
        """
        found = (proc.read(pid) for pid in pids if pid != os.getpid())
        everything = sorted((p for p in found if p is not None and p.argv), key=_by_age)
        if not self._plan.root_pid:
            return everything
        inside = {self._plan.root_pid, *self._watched}
        chosen = []
        for process in everything:
            seen = self._watched.get(process.pid)
            known = seen is not None and seen.process.start_ns == process.start_ns
            if known or (process.ppid in inside and not self._is_clients(process)):
                inside.add(process.pid)
                chosen.append(process)
        return chosen

    def _again(self, pid: int) -> proc.Process | None:
        """A process that is being watched, as it is now; ``None`` if it has ended."""
        process, seen = proc.read(pid), self._watched[pid]
        is_same = process is not None and process.start_ns == seen.process.start_ns
        return process if process and process.argv and is_same else None

    def _is_clients(self, process: proc.Process) -> bool:
        """Whether it is the client's own child, such as the one that asks the package managers.

        Those go on as the same program; the command's process becomes another one.
        """
        client = self._client
        if client is None or process.ppid != client.pid:
            return False
        # Of a process that nobody may trace, as the agent's supervisor, the file is not told.
        return process.argv == client.argv and process.exe in (client.exe, "")

    def _started(self) -> Started:
        plan = self._plan
        return Started(
            ts_ns=now_ns(),
            wall_s=time.time(),
            sensor="portable",
            mode=Mode.AUDIT,
            scope=plan.scope,
            policy_digest=plan.policy.digest,
            secrets=tuple(secret.name for secret in plan.secrets),
            worker_pid=plan.worker_pid,
            notes=self.notes,
        )

    def _present(self) -> Iterator[Event]:
        for process in self._within(proc.pids()):
            # Their secrets count: a connection made from now on may carry them.
            self._watched[process.pid] = _Seen(process, self._assess.hits(process.argv))
            yield ProcessSeen(
                ts_ns=now_ns(),
                pid=process.pid,
                ppid=process.ppid,
                exe=self._assess.masked(process.exe),
                argv=self._assess.shown(process.argv),
                start_ns=process.start_ns,
            )

    def _exec(self, process: proc.Process) -> Exec:
        hits = self._assess.hits(process.argv)
        self._watched[process.pid] = _Seen(process, hits)
        return Exec(
            ts_ns=now_ns(),
            pid=process.pid,
            ppid=process.ppid,
            uid=process.uid,
            exe=self._assess.masked(process.exe),
            argv=self._assess.shown(process.argv),
            argv_bytes=sum(len(argument) + 1 for argument in process.argv),
            truncated=False,
            hits=hits,
            start_ns=process.start_ns,
        )

    def _step(self, process: proc.Process) -> Iterator[Event]:
        if self._plan.worker_pid and process.ppid == self._plan.worker_pid:
            environ = proc.environ(process.pid)
            if label := steps.step_label(environ, process.argv):
                names = tuple(map(self._assess.masked, steps.step_names(environ)))
                label = self._assess.masked(label)
                yield StepSeen(now_ns(), process.pid, label, names, steps.ENVIRONMENT)


def _by_age(process: proc.Process) -> tuple[int, int]:
    """Parents before their children."""
    return process.start_ns, process.pid


__all__ = ["INTERVAL_S", "PortableSensor"]
