# SPDX-License-Identifier: MIT
"""The kernel sensor: loads the data plane, attaches it to a cgroup, and reads its events."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from leakstop.bpf import fill, pins, records, tc
from leakstop.bpf.libbpf import BpfError, Link, Object, Ring, library
from leakstop.bpf.tracepoint import open_event
from leakstop.errors import UnsupportedError
from leakstop.model.event import Event, Exec, Loss, ProcessSeen, Started, StepSeen
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.encodings import Needle
from leakstop.secrets.needles import build
from leakstop.sensor import older, proc
from leakstop.sensor.decode import Decoder
from leakstop.sensor.finder import Finder
from leakstop.sensor.follower import Follower
from leakstop.sensor.inspect import Inspector
from leakstop.sensor.load import load, object_path, uprobes
from leakstop.sensor.locals import read_networks
from leakstop.sensor.neighbours import Neighbours
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.steps import step_label
from leakstop.sensor.tls.follower import TlsFollower
from leakstop.sensor.tls.gate import Gate
from leakstop.sensor.tls.probes import attacher
from leakstop.sensor.uplinks import Uplinks

# Lineage first: a process that is born while we attach must not be missed. Then what notes
# new sockets, so that older ones can be noted before their packets are judged.
_TRACING = ("on_fork", "on_exit", "on_exec")
_MAKING = ("on_socket",)
_CGROUP = (
    "on_ingress",
    "on_egress",
    "on_option",
    "on_sendmsg4",
    "on_sendmsg6",
    "on_connect4",
    "on_connect6",
    "on_bind4",
    "on_bind6",
)
_FAMILY, _SOCKET_RETURNS = "on_family", "syscalls/sys_exit_socket"
_DEPARTURE = "on_departure"

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

FAMILY_NOTE = (
    "Sockets that are not IP's (packet sockets, AF_VSOCK, AF_XDP) were not seen: this machine "
    "does not show its tracepoints."
)

UNCOVERED_NOTE = "The network interfaces could not be watched"


class KernelSensor:
    """Sees and denies in the kernel. Goes on denying when this process dies."""

    def __init__(self, plan: GuardPlan) -> None:
        self._plan = plan
        self._finder = Finder(plan)
        self.secrets, self._masker = self._finder.secrets, self._finder.masker
        self._decoder = Decoder(plan.needles, self._masker, self._finder.look)
        self._events: deque[Event] = deque()
        self._links: list[Link] = []
        self._object: Object | None = None
        self._ring: Ring | None = None
        self._neighbours: Neighbours | None = None
        self._uplinks: Uplinks | None = None
        self._uncovered: tuple[str, ...] = ()
        self._followers: list[Follower] = []
        self._lost = dict.fromkeys(records.Lost, 0)
        self._losses_read_s = 0.0

    def start(self) -> None:
        """Load, fill, attach. Nothing is attached if any part of it fails.

        Raises:
            UnsupportedError: this machine cannot do it, and why.
        """
        plan = self._plan
        _require_machine(plan.cgroup)
        assert plan.cgroup is not None
        try:
            self._object = load(
                plan.policy,
                plan.tables,
                plan.needles,
                uplinks=self._judges_uplinks,
                finds=True,
                cgroup=plan.cgroup.stat().st_ino,
            )
            self._fill(self._object)
            self._ring = Ring(library(), self._object.map("events"), self._on_record)
            table = self._object.map("neighbours")
            self._neighbours = Neighbours(table, plan.local, read_networks)
            self._neighbours.wake(self._ring.fileno())
            self._attach(self._object, plan.cgroup)
            if plan.uplinks:
                self._cover_uplinks(self._object, self._ring.fileno())
            self._followers = self._make_followers(self._object)
        except BaseException:
            self.close()
            raise
        for follower in self._followers:
            self._uncovered = (*self._uncovered, *follower.start())
            follower.wake(self._ring.fileno())
        self._events.append(self._started())
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
        if self._uplinks is not None:
            uncovered = self._uplinks.follow()
            if uncovered and self._judges_uplinks:
                self._events.append(Loss(_now_ns(), "uplinks", uncovered))
        self._ring.consume()
        for follower in self._followers:
            self._events.extend(follower.follow())
        for found in self._finder.news():
            self._take(found)
        self._read_losses()
        while self._events:
            yield self._events.popleft()

    def close(self) -> None:
        """Detach everything and remove the pins. What waits can still be polled before."""
        for link in self._links:
            link.close()
        self._links.clear()
        for follower in self._followers:
            follower.close()
        if self._uplinks is not None:
            self._uplinks.close()
            self._uplinks = None
        pins.release(self._plan.run_dir)
        if self._neighbours is not None:
            self._neighbours.close()
            self._neighbours = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._object is not None:
            self._object.close()
            self._object = None

    @classmethod
    def try_load(cls) -> str | None:
        """Load the programs without attaching them; return why that fails, or ``None``."""
        # In block mode and with something to look for: the verifier leaves out what the
        # constants rule out, and what it left out proves nothing.
        policy = Policy(mode=Mode.BLOCK)
        needles = build([Needle(b"an inert needle", "NONE", "raw")])
        try:
            _require_machine(None)
            load(policy, compile_tables(policy), needles, uplinks=True).close()
        except UnsupportedError as error:
            return f"{error.what}. {error.why}".strip()
        return None

    # -- in force -----------------------------------------------------------------------

    def _fill(self, opened: Object) -> None:
        plan = self._plan
        tables, machine = (plan.tables, plan.needles, plan.resolvers), plan.scope == "machine"
        fill.fill(opened, plan.policy, *tables, whole_machine=machine)
        self._finder.open(opened, self._decoder.learn)

    def _attach(self, opened: Object, cgroup: Path) -> None:
        directory = self._plan.run_dir / "bpf"
        pins.mount(directory)
        descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            opened.map("guarded").update(bytes(4), descriptor.to_bytes(4, "little"))
            for program in _TRACING:
                self._keep(opened.attach(program), directory / program)
            self._watch_families(opened, directory)
            for program in _MAKING:
                self._keep(opened.attach_cgroup(program, descriptor), directory / program)
            if self._plan.scope != "command":  # its cgroup is new: nothing in it is older
                older.note_sockets(opened, self._plan.worker_pid)
            for program in _CGROUP:
                self._keep(opened.attach_cgroup(program, descriptor), directory / program)
        finally:
            os.close(descriptor)

    def _make_followers(self, opened: Object) -> list[Follower]:
        """What follows something of its own, in the order in which they see an event."""
        assert self._plan.cgroup is not None
        gate = Gate(opened.map("images"), opened.map("looked"))
        attach = attacher(uprobes(opened), self._plan.run_dir / "bpf")
        return [
            self._finder,
            TlsFollower(attach, self._plan.cgroup, gate),
            self._inspector(opened),
        ]

    def _inspector(self, opened: Object) -> Follower:
        pieces, watched = opened.map("plaintexts"), opened.map("watched")
        return Inspector(
            self._plan,
            lambda take: Ring(library(), pieces, take),
            lambda: self._finder.needles,
            lambda stream, size: watched.update(_word(stream), _word(size)),
        )

    def _watch_families(self, opened: Object, directory: Path) -> None:
        """It only explains, so a machine that hides its tracepoints is guarded all the same."""
        try:
            event = open_event(_SOCKET_RETURNS, directory.with_name("tracing"))
            self._keep(opened.attach_event(_FAMILY, event), directory / _FAMILY)
        except BpfError:
            self._uncovered = (*self._uncovered, FAMILY_NOTE)

    def _keep(self, link: Link, path: Path) -> None:
        self._links.append(link)
        link.pin(path)

    def _cover_uplinks(self, opened: Object, epoll: int) -> None:
        """After the sockets' hooks: what those have seen is not judged a second time.

        Raises:
            BpfError: the kernel refuses, and in block mode the second line is needed.
        """
        directory = self._plan.run_dir / "bpf"
        opened.map(pins.REFUSALS).pin(directory / pins.REFUSALS)
        self._uplinks = Uplinks(
            opened.map("devices"), lambda index: tc.attach(opened, _DEPARTURE, index), directory
        )
        try:
            self._uplinks.start()
        except BpfError as error:
            if self._judges_uplinks and self._plan.policy.mode is Mode.BLOCK:
                raise
            self._uncovered = (*self._uncovered, f"{UNCOVERED_NOTE} ({error.what}).")
        self._uplinks.wake(epoll)

    @property
    def _judges_uplinks(self) -> bool:
        """For one command others' packets are none of our business."""
        return self._plan.uplinks and self._plan.scope == "machine"

    # -- events -------------------------------------------------------------------------

    def _on_record(self, address: int, size: int) -> None:
        try:
            event = self._decoder.decode(address, size)
        except ValueError:  # the next record matters, too
            self._events.append(Loss(_now_ns(), "records", 1))
            return
        steps = list(self._step(event))  # at once: a short step is soon gone
        for found in self._finder.news():  # said before what it was found in
            self._take(found)
        self._take(self._finder.belated.judge(event))
        self._events.extend(steps)

    def _step(self, event: Event) -> Iterator[StepSeen]:
        if isinstance(event, Exec) and event.ppid == self._plan.worker_pid != 0:
            label = step_label(proc.environ(event.pid), [os.fsencode(a) for a in event.argv])
            if label:
                yield StepSeen(event.ts_ns, event.pid, self._masker.mask(label))

    def _take(self, event: Event) -> None:
        self._events.append(event)
        for follower in self._followers:
            self._events.extend(follower.see(event))

    def _started(self) -> Started:
        plan = self._plan
        notes = (CONTENTS_NOTE, COMMAND_NOTE if plan.scope == "command" else OLDER_NOTE)
        return Started(
            ts_ns=_now_ns(),
            wall_s=time.time(),
            sensor="kernel",
            mode=plan.policy.mode,
            scope=plan.scope,
            policy_digest=plan.policy.digest,
            secrets=tuple(secret.name for secret in plan.secrets),
            worker_pid=plan.worker_pid,
            notes=(*notes, *self._uncovered),
        )

    def _running(self) -> Iterator[Event]:
        """What already runs, so that lineages lead somewhere."""
        now = _now_ns()
        # A command's cgroup is new and empty: only who starts the command is worth knowing.
        command = self._plan.root_pid if self._plan.scope == "command" else 0
        for pid in proc.ancestors(command) if command else proc.pids():
            process = proc.read(pid)
            if process is not None:
                yield ProcessSeen(
                    ts_ns=now,
                    pid=pid,
                    ppid=process.ppid,
                    exe=self._masker.mask(process.exe, cut=False),
                    argv=tuple(self._masker.mask(proc.text(a)) for a in process.argv)[:64],
                    start_ns=process.start_ns,
                )

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
                self._events.append(Loss(_now_ns(), kind.name.lower(), total - before))


def _require_machine(cgroup: Path | None) -> None:
    if os.geteuid() != 0:
        raise UnsupportedError(
            "the kernel sensor needs root",
            why="only root may load BPF programs",
            fix="`sudo leakstop …`",
        )
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise UnsupportedError(
            "this kernel has no BTF",
            why="/sys/kernel/btf/vmlinux is missing, so the programs cannot be fitted to it",
            fix="use a kernel built with CONFIG_DEBUG_INFO_BTF, as distributions' kernels are",
        )
    if not object_path().exists():
        raise UnsupportedError(
            f"there is no data plane for {os.uname().machine}",
            fix="use a machine with x86_64 or aarch64",
        )
    if cgroup is not None and not cgroup.is_dir():
        raise UnsupportedError("the cgroup to guard is not there", where=str(cgroup))


def _word(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _possible_cpus() -> int:
    """CPUs that per-CPU maps have room for: the last of e.g. ``0-3`` plus one."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


__all__ = ["COMMAND_NOTE", "CONTENTS_NOTE", "OLDER_NOTE", "KernelSensor"]
