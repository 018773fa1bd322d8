# SPDX-License-Identifier: MIT
"""Where the programs of the data plane are attached, in which order, and how they are let go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from leakstop.bpf import pins, tc
from leakstop.bpf.held import HeldLink, program_of
from leakstop.bpf.libbpf import BpfError, Link, Object
from leakstop.bpf.tracepoint import event_numbers, open_event
from leakstop.model.verdict import Mode
from leakstop.sensor import older, seeds
from leakstop.sensor.load import load_denials
from leakstop.sensor.plan import GuardPlan
from leakstop.sensor.tripwires import DENIAL_NOTE, TRIPWIRE_NOTE, name_ours, wires
from leakstop.sensor.uplinks import Uplinks

# Lineage first: a process that is born while we attach must not be missed. Then what notes
# new sockets, so that older ones can be noted before their packets are judged.
_TRACING = ("on_fork", "on_exit", "on_exec", "on_container")
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
REQUESTS = {
    "on_request_write": "syscalls/sys_enter_write",
    "on_request_writev": "syscalls/sys_enter_writev",
    "on_request_send": "syscalls/sys_enter_sendto",
    "on_request_message": "syscalls/sys_enter_sendmsg",
}
"""Programs that hear what is asked of container engines, and their tracepoints."""
_DEPARTURE = "on_departure"

FAMILY_NOTE = (
    "Sockets that are not IP's (packet sockets, AF_VSOCK, AF_XDP) were not seen: this machine "
    "does not show its tracepoints."
)
REQUESTS_NOTE = (
    "Requests to container engines were not seen, so containers are of no step: this machine does "
    "not show its tracepoints."
)

UNCOVERED_NOTE = "The network interfaces could not be watched"


@dataclass(slots=True)
class _Place:
    """Where one program is attached."""

    link: Link | HeldLink
    program: int
    """Its id, as long as nobody has exchanged it."""
    attach: Callable[[], Link]
    """Attaches it again."""


class Attachment:
    """The programs of one guard, in force until ``close``; pinned, so that they outlive us."""

    def __init__(self, plan: GuardPlan) -> None:
        self._plan = plan
        self._directory = plan.run_dir / "bpf"
        self._places: dict[str, _Place] = {}
        self._pinned: set[str] = set()
        self._object: Object | None = None
        self._cgroup = -1
        self._uplinks: Uplinks | None = None
        self._denials: Object | None = None
        self.uncovered: tuple[str, ...] = ()
        """What could not be attached to, in whole sentences."""
        self.absent: list[str] = []
        """Programs of an inherited guard that were not attached any more."""

    def attach(self, opened: Object, cgroup: Path) -> None:
        """Put the programs in force for ``cgroup``, or take over those that are.

        Raises:
            BpfError: the kernel refuses.
        """
        self._object = opened
        self._cgroup = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._pin_maps(opened)
        opened.map("guarded").update(bytes(4), self._cgroup.to_bytes(4, "little"))
        for program in _TRACING:
            self._keep(program, partial(opened.attach, program))
        if self._plan.inherited is None or set(_TRACING).intersection(self.absent):
            self._sow(opened)
        self._watch(opened, {_FAMILY: _SOCKET_RETURNS}, FAMILY_NOTE)
        self._watch(opened, REQUESTS, REQUESTS_NOTE)
        self._lay_tripwires(opened)
        for program in _MAKING:
            self._keep(program, partial(opened.attach_cgroup, program, self._cgroup))
        if self._plan.inherited is None or set(_MAKING).intersection(self.absent):
            self._note_older(opened)
        for program in _CGROUP:
            self._keep(program, partial(opened.attach_cgroup, program, self._cgroup))

    def cover_uplinks(self, opened: Object, epoll: int) -> None:
        """After the sockets' hooks: what those have seen is not judged a second time.

        Raises:
            BpfError: the kernel refuses, and in block mode the second line is needed.
        """
        inherited = self._plan.inherited.pinned if self._plan.inherited else {}

        def cover(index: int) -> tc.Attachment:
            found = tc.adopt(opened, _DEPARTURE, index, inherited)
            if found is None and tc.was_on(index, inherited):
                self.absent.append(_DEPARTURE)
            return found or tc.attach(opened, _DEPARTURE, index)

        self._uplinks = Uplinks(opened.map("devices"), cover, self._directory)
        try:
            self._uplinks.start()
        except BpfError as error:
            if self._plan.judges_uplinks and self._plan.policy.mode is Mode.BLOCK:
                raise
            self.uncovered = (*self.uncovered, f"{UNCOVERED_NOTE} ({error.what}).")
        self._uplinks.wake(epoll)

    def close(self) -> None:
        """Detach everything and remove the pins."""
        for place in self._places.values():
            place.link.close()
        self._places.clear()
        if self._uplinks is not None:
            self._uplinks.close()
            self._uplinks = None
        if self._cgroup >= 0:
            os.close(self._cgroup)
            self._cgroup = -1
        pins.release(self._plan.run_dir)
        if self._denials is not None:
            self._denials.close()
            self._denials = None

    def follow(self) -> int:
        """Cover interfaces that came since; return how many could not be, and should."""
        uncovered = self._uplinks.follow() if self._uplinks is not None else 0
        return uncovered if self._plan.judges_uplinks else 0

    # -- in force -----------------------------------------------------------------------

    @property
    def denies(self) -> bool:
        """Whether hands on the guard are denied, and not only seen."""
        return self._denials is not None

    def restore(self) -> tuple[str, ...]:
        """Attach again what somebody has detached or exchanged; return which programs.

        Raises:
            BpfError: the kernel refuses.
        """
        off = [name for name, place in self._places.items() if not _runs(place)]
        for name in off:
            place = self._places[name]
            place.link.close()
            place.link = place.attach()
            place.program = program_of(place.link.fd)
            self._pin(name, place.link)
            if name in _TRACING and self._object is not None:
                self._sow(self._object)
            if name in _MAKING and self._object is not None:
                self._note_older(self._object)
        interfaces = self._uplinks.restore() if self._uplinks is not None else 0
        return (*off, *[_DEPARTURE] * bool(interfaces))

    def restore_pins(self) -> bool:
        """Pin again what somebody has unpinned; whether there was anything.

        Raises:
            BpfError: the kernel refuses.
        """
        gone = self._pinned - pins.names(self._directory)
        if gone and self._object is not None:
            self._pin_maps(self._object)
        for name in gone.intersection(self._places):
            self._pin(name, self._places[name].link)
        return bool(gone)

    def _keep(self, name: str, attach: Callable[[], Link], of: Object | None = None) -> None:
        """Take over the program ``name`` where it is attached, else attach it; pin it."""
        link: Link | HeldLink | None = None
        opened = of or self._object
        if self._plan.inherited is not None and opened is not None:
            link = self._plan.inherited.link(name, opened)
            if link is None:
                self.absent.append(name)
        if link is None:
            link = attach()
        self._places[name] = _Place(link, program_of(link.fd), attach)
        self._pin(name, link)

    def _pin(self, name: str, link: Link | HeldLink) -> None:
        path = self._directory / name
        with contextlib.suppress(OSError):
            path.unlink()
        link.pin(path)
        self._pinned.add(name)

    def _pin_maps(self, opened: Object) -> None:
        """What programs and agent need of each other, for an agent that is started after us."""
        if not self._directory.is_mount():
            pins.mount(self._directory)
        (self._directory / pins.MAPS).mkdir(mode=0o700, exist_ok=True)
        for each in opened.maps():
            name = pins.map_pin(each.name)
            self._pinned.add(name)
            if not (self._directory / name).exists():
                each.pin(self._directory / name)

    def _sow(self, opened: Object) -> None:
        plan = self._plan
        if plan.scope != "command":  # its cgroup is new: nothing in it is older
            assert plan.cgroup is not None
            seeds.sow(opened, plan.tables.scopes, plan.worker_pid, plan.cgroup)

    def _note_older(self, opened: Object) -> None:
        if self._plan.scope != "command":
            older.note_sockets(opened)

    def _watch(self, opened: Object, programs: Mapping[str, str], note: str) -> None:
        """They only explain, so a machine that hides its tracepoints is guarded all the same."""
        scratch = self._directory.with_name("tracing")

        def attach(program: str, tracepoint: str) -> Link:
            numbers = event_numbers((tracepoint,), scratch)
            return opened.attach_event(program, open_event(numbers[tracepoint]))

        try:
            for program, tracepoint in programs.items():
                self._keep(program, partial(attach, program, tracepoint))
        except BpfError:
            self.uncovered = (*self.uncovered, note)

    def _lay_tripwires(self, opened: Object) -> None:
        """What is laid on the guard is seen; in block mode it is denied where the kernel can."""
        if self._plan.policy.mode is Mode.BLOCK:
            try:
                self._denials = load_denials(opened)
            except BpfError:
                self.uncovered = (*self.uncovered, DENIAL_NOTE)
        name_ours(opened, self._denials, self._directory)
        try:
            for wire in wires(opened, self._denials, self._directory.with_name("tracing")):
                self._keep(wire.name, wire.attach, wire.opened)
        except BpfError:
            self.uncovered = (*self.uncovered, TRIPWIRE_NOTE)


def _runs(place: _Place) -> bool:
    return program_of(place.link.fd) == place.program != 0


__all__ = ["FAMILY_NOTE", "REQUESTS", "REQUESTS_NOTE", "UNCOVERED_NOTE", "Attachment"]
