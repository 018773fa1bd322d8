# SPDX-License-Identifier: MIT
"""The kernel sensor: loads the data plane, attaches it to a cgroup, and reads its events."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from leakstop.bpf import fill, records
from leakstop.bpf.libbpf import Object, library
from leakstop.bpf.ring import Ring
from leakstop.bpf.values import Protected
from leakstop.model.coverage import Loss
from leakstop.model.event import Event, ProcessSeen, Started
from leakstop.sensor import proc
from leakstop.sensor.attachment import Attachment
from leakstop.sensor.containers import Containers
from leakstop.sensor.covered import CoveredWatch
from leakstop.sensor.decode import Decoder, request_of
from leakstop.sensor.files import MACHINE, FileWatch
from leakstop.sensor.finder import Finder
from leakstop.sensor.follower import Follower
from leakstop.sensor.in_force import InForce
from leakstop.sensor.inspect import Inspector
from leakstop.sensor.load import load, load_upon, require_machine, uprobes
from leakstop.sensor.locals import read_networks
from leakstop.sensor.neighbours import Neighbours
from leakstop.sensor.network import NetworkWatch
from leakstop.sensor.owners import Owners
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.protected import protect, protect_runner
from leakstop.sensor.runnerlog import RunnerLog
from leakstop.sensor.timer import now_ns
from leakstop.sensor.tls.follower import TlsFollower
from leakstop.sensor.tls.gate import Gate
from leakstop.sensor.tls.probes import attacher, inherit

_LOSSES_EVERY_S = 0.25

CONTENTS_NOTE = (
    "What a program encrypts by itself before it sends it was not looked into, and compressed or "
    "nested contents only in the first 64 KiB of a connection."
)
"""What is not seen, whatever the job does."""

OLDER_NOTE = (
    "Connections that the machine's own services had open before the guard started went on as they "
    "were."
)
"""What is let pass where a machine is guarded; a command's cgroup is new."""

COMMAND_NOTE = (
    "What a daemon did on the command's behalf (Docker, systemd) was outside of the guard: only "
    "the command and what it started are in it."
)
"""What else is not seen when one command is guarded and not the machine."""


class KernelSensor:
    """Sees and denies in the kernel. Goes on denying when this process dies."""

    def __init__(self, plan: GuardPlan) -> None:
        self._plan = plan
        self._finder = Finder(plan)
        self.secrets, self._masker = self._finder.secrets, self._finder.masker
        self._decoder = Decoder(plan.needles, self._masker, self._finder.look)
        self._events: deque[Event] = deque()
        self._attachment = Attachment(plan)
        self._object: Object | None = None
        self._ring: Ring | None = None
        self._neighbours: Neighbours | None = None
        self._owners: Owners | None = None
        self._containers: Containers | None = None
        self._followers: list[Follower] = []
        self._in_force: InForce | None = None
        lost = plan.inherited.lost if plan.inherited else {}
        self._lost = {kind: lost.get(kind.name.lower(), 0) for kind in records.Lost}
        self._losses_read_s = 0.0

    def start(self) -> None:
        """Load, fill, attach. Nothing is attached if any part of it fails.

        Raises:
            UnsupportedError: this machine cannot do it, and why.
        """
        plan = self._plan
        require_machine(plan.cgroup)
        assert plan.cgroup is not None
        try:
            self._object = _load(plan, plan.cgroup)
            self._fill(self._object)
            self._ring = Ring(library(), self._object.map("events"), self._on_record)
            table = self._object.map("neighbours")
            self._neighbours = Neighbours(table, plan.local, read_networks)
            self._neighbours.wake(self._ring.fileno())
            self._owners = Owners(plan.tables.scopes, self._object)
            self._attachment.attach(self._object, plan.cgroup)
            if plan.uplinks:
                self._attachment.cover_uplinks(self._object, self._ring.fileno())
            self._followers = self._make_followers(self._object)
        except BaseException:
            if plan.inherited is None:  # else what is in force stays so
                self.close()
            raise
        uncovered = self._attachment.uncovered
        for follower in self._followers:
            uncovered = (*uncovered, *follower.start())
            follower.wake(self._ring.fileno())
        self._protect(self._object)  # once their threads are there
        if plan.inherited is None:
            self._events.append(self._started(uncovered))
        for event in self._running():
            self._take(event)

    def fileno(self) -> int:
        """Readable when events wait; -1 before ``start``."""
        return self._ring.fileno() if self._ring else -1

    def poll(self, timeout_s: float) -> Iterator[Event]:
        """Events that wait now, or that come within ``timeout_s``."""
        if self._ring is None:
            return
        if timeout_s > 0 and not self._events:
            select.select([self._ring], [], [], timeout_s)
        if self._neighbours is not None:
            self._neighbours.follow()
        if uncovered := self._attachment.follow():
            self._events.append(Loss(now_ns(), "uplinks", uncovered))
        self._ring.consume()
        for follower in self._followers:
            self._events.extend(follower.follow())
        for found in self._finder.news():
            self._take(found)
        self._read_losses()
        while self._events:
            yield self._events.popleft()

    def look(self) -> None:
        """Find out with the next ``poll`` whether the guard is whole."""
        if self._in_force is not None:
            self._in_force.look()

    def close(self) -> None:
        """Detach everything and remove the pins. What waits can still be polled before."""
        for follower in self._followers:
            follower.close()
        self._followers = []
        self._attachment.close()
        if self._owners is not None:
            self._owners.close()
            self._owners = None
        if self._neighbours is not None:
            self._neighbours.close()
            self._neighbours = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._object is not None:
            self._object.close()
            self._object = None

    # -- in force -----------------------------------------------------------------------

    def _fill(self, opened: Object) -> None:
        plan = self._plan
        if plan.inherited is None:
            tables, machine = (plan.tables, plan.needles, plan.resolvers), plan.scope == "machine"
            fill.fill(opened, plan.policy, *tables, whole_machine=machine)
        self._finder.open(opened, self._decoder.learn)
        self._protect(opened)

    def _protect(self, opened: Object) -> None:
        threads = opened.map("protected")
        protect_runner(threads, self._plan.worker_pid)
        for pid in (os.getpid(), self._plan.supervisor_pid):
            protect(threads, pid, Protected.AGENT)

    def _make_followers(self, opened: Object) -> list[Follower]:
        """What follows something of its own, in the order in which they see an event."""
        plan, inherited = self._plan, self._plan.inherited
        assert plan.cgroup is not None and self._owners is not None
        gate = Gate(opened.map("images"), opened.map("looked"))
        attach = attacher(uprobes(opened), plan.run_dir / "bpf")
        probes = inherit(plan.run_dir / "bpf") if inherited else {}
        self._in_force = InForce(self._attachment, inherited.since_ns if inherited else 0)
        name_step, holds = self._owners.name_step, plan.tables.scopes.any_step
        self._containers = Containers(opened, self._owners.name_container, self._masker)
        return [
            self._owners,
            # Early: a short step is soon gone, and its environment with it.
            RunnerLog(plan.worker_pid, self._masker.mask, name_step=name_step, holds=holds),
            self._finder,
            self._containers,
            TlsFollower(attach, plan.cgroup, gate, probes),
            self._inspector(opened),
            *self._machine_watches(),
            self._in_force,
        ]

    def _machine_watches(self) -> tuple[Follower, ...]:
        """Who tells of changes to the machine; one command is no reason to watch all others."""
        plan = self._plan
        if plan.scope == "command":
            return ()
        files = FileWatch(MACHINE, self._masker, plan.variables)
        return NetworkWatch(), files, CoveredWatch(plan.covered, [plan.run_dir])

    def _inspector(self, opened: Object) -> Follower:
        pieces, watched = opened.map("plaintexts"), opened.map("watched")
        return Inspector(
            self._plan,
            lambda take: Ring(library(), pieces, take),
            lambda: self._finder.needles,
            lambda stream, size: watched.update(_word(stream), _word(size)),
        )

    # -- events -------------------------------------------------------------------------

    def _on_record(self, address: int, size: int) -> None:
        request = request_of(address, size)
        if request is not None:
            if self._containers is not None:
                self._containers.hear(request)
            return
        try:
            event = self._decoder.decode(address, size)
        except ValueError:  # the next record matters, too
            self._events.append(Loss(now_ns(), "records", 1))
            return
        for found in self._finder.news():  # said before what it was found in
            self._take(found)
        self._take(self._finder.belated.judge(event))

    def _take(self, event: Event) -> None:
        self._events.append(event)
        for follower in self._followers:
            self._events.extend(follower.see(event))

    def _started(self, uncovered: tuple[str, ...]) -> Started:
        plan = self._plan
        notes = (CONTENTS_NOTE, COMMAND_NOTE if plan.scope == "command" else OLDER_NOTE)
        return Started(
            ts_ns=now_ns(),
            wall_s=time.time(),
            sensor="kernel",
            mode=plan.policy.mode,
            scope=plan.scope,
            policy_digest=plan.policy.digest,
            secrets=tuple(secret.name for secret in plan.secrets),
            worker_pid=plan.worker_pid,
            notes=(*notes, *uncovered),
        )

    def _running(self) -> Iterator[Event]:
        """What already runs, so that lineages lead somewhere."""
        now = now_ns()
        for pid in self._known():
            process = proc.read(pid)
            if process is not None:
                yield ProcessSeen(
                    ts_ns=now,
                    pid=pid,
                    ppid=process.ppid,
                    exe=self._masker.mask(process.exe, cut=False),
                    argv=tuple(self._masker.mask(proc.text(a)) for a in process.argv)[:64],
                    start_ns=process.start_ns,
                    tag=self._owners.tag_of(pid, process.start_ns) if self._owners else 0,
                )

    def _known(self) -> Iterable[int]:
        """Who may be in a lineage; command lines of others are none of this guard's business."""
        plan = self._plan
        if plan.scope == "command" and plan.root_pid:  # its cgroup is new and empty
            return proc.ancestors(plan.root_pid)
        if plan.scope == "cgroup" and plan.cgroup is not None:
            inside = {*proc.members(plan.cgroup), plan.worker_pid}
            return {pid for one in inside for pid in (one, *proc.ancestors(one))}
        return proc.pids()

    def _read_losses(self) -> None:
        now_s = time.monotonic()
        if self._object is None or now_s - self._losses_read_s < _LOSSES_EVERY_S:
            return
        self._losses_read_s = now_s
        losses = self._object.map("losses")
        width = 8 * _possible_cpus()
        for kind, before in self._lost.items():
            raw = losses.lookup(int(kind).to_bytes(4, "little"), width) or b""
            total = sum(int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8))
            if total > before:
                self._lost[kind] = total
                self._events.append(Loss(now_ns(), kind.name.lower(), total - before))


def _load(plan: GuardPlan, cgroup: Path) -> Object:
    if plan.inherited is not None:
        return load_upon(plan.inherited)
    return load(
        plan.policy,
        plan.tables,
        plan.needles,
        uplinks=plan.judges_uplinks,
        finds=True,
        cgroup=cgroup.stat().st_ino,
        worker=plan.worker_pid,
    )


def _word(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _possible_cpus() -> int:
    """CPUs that per-CPU maps have room for: the last of e.g. ``0-3`` plus one."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


__all__ = ["COMMAND_NOTE", "CONTENTS_NOTE", "OLDER_NOTE", "KernelSensor"]
