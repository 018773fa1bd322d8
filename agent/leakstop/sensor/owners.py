# SPDX-License-Identifier: MIT
"""What the kernel cannot know of a process's owner: what its step and its container are called.

The kernel gives each step a tag when its first process is made (``owner.bpf.h``). What the tag
meets of the policy is written here, as soon as somebody knows the step's name. Where a rule asks
for one, the step's first program is stopped until then: not longer than ``PATIENCE_S``, and only
while this process gives a sign of life. All of it stands in maps, so whoever comes after this
process lets go of what it left stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterable, Iterator, Sequence

from leakstop.bpf.libbpf import Map, Object
from leakstop.bpf.values import Hold, Owner, Waits
from leakstop.model.coverage import Loss
from leakstop.model.event import Event, Exec
from leakstop.model.process import Tag
from leakstop.policy.scopes import Scopes
from leakstop.policy.tables import vector_bytes
from leakstop.sensor import proc
from leakstop.sensor.timer import now_ns

PATIENCE_S = 0.5
"""How long a step or a container waits for its name."""
_UNHEARD_S = 2.0
"""The same where the event that tells of it has not come: it is behind others, or it was lost."""
_SIGN_NS = 100_000_000
"""Between two signs of life, also amid a flood of events: nobody waits for a busy agent else."""

_PID_BYTES = 4
_VECTOR_BYTES = 32


class Owners:
    """Names steps and containers in the kernel, and lets go of who has waited for that."""

    def __init__(self, scopes: Scopes, opened: Object) -> None:
        self._scopes = scopes
        self._owners, self._holds = opened.map("owners"), opened.map("holds")
        self._steps, self._containers = opened.map("steps"), opened.map("containers")
        self._heartbeat, self._last_sign_ns = opened.map("heartbeat"), 0
        self._heard: dict[int, Hold] = {}

    # -- what others tell -----------------------------------------------------------------

    def name_step(self, tag: int, names: Sequence[str]) -> None:
        """Say what the step of ``tag`` (``Fork.tag``, ``Exec.tag``) is called.

        From here on its processes meet what rules ask of such a step; if one waits for that, it
        goes on. May be called again when more is known, and before its first process runs. Does
        nothing for the tags below ``Tag.STEPS``, which are no step's.
        """
        if tag >= Tag.STEPS:
            self._write(self._steps, _step_key(tag), self._scopes.of_step(tuple(names)))

    def name_container(self, container: int, names: Sequence[str]) -> None:
        """Say what a container is called: its image and its name. The same as ``name_step``.

        Without any name nobody knows. ``container``: the first 16 digits of its id as a number, as
        ``struct owner`` has it.
        """
        vector = self._scopes.of_container(tuple(names) or None)
        self._write(self._containers, _container_key(container), vector)

    def tag_of(self, pid: int, start_ns: int = 0) -> int:
        """The tag of a process; ``Tag.UNKNOWN`` if it has none, or began at another time."""
        raw = self._owners.lookup(_pid_key(pid), ctypes.sizeof(Owner))
        if raw is None:
            return Tag.UNKNOWN
        owner = Owner.from_buffer_copy(raw)
        if start_ns and not proc.same_start(owner.start, start_ns):
            return Tag.UNKNOWN
        return int(owner.tag)

    # -- a follower of the sensor ----------------------------------------------------------

    def start(self) -> tuple[str, ...]:
        """From now on somebody may wait for this process; of another one's time somebody may."""
        self._heard.update(self._waiting())
        self._give_sign(now_ns())
        return ()

    def wake(self, epoll: int) -> None:
        """Nothing here wakes the sensor; it looks often enough for those who wait."""

    def see(self, event: Event) -> Iterable[Event]:
        """Hear who waits; his name may have come before, or comes from those who see this next."""
        now = now_ns()
        if now - self._last_sign_ns > _SIGN_NS:
            self._give_sign(now)
        if isinstance(event, Exec) and event.held:
            hold = self._hold_of(_pid_key(event.pid))
            if hold is not None:
                self._heard[event.pid] = hold
                self._release(event.pid, hold)
        return ()

    def follow(self) -> Iterator[Event]:
        """Give a sign of life, and let go of who has waited for too long: without a name then."""
        now = now_ns()
        self._give_sign(now)
        for pid, hold in self._waiting():
            patience_s = PATIENCE_S if pid in self._heard else _UNHEARD_S
            if now - hold.since < patience_s * 1e9:
                continue
            if hold.waits & Waits.STEP:
                self._steps.create(_step_key(hold.tag), vector_bytes(self._scopes.of_step(())))
            if hold.waits & Waits.CONTAINER:
                vector = vector_bytes(self._scopes.of_container(None))
                self._containers.create(_container_key(hold.container), vector)
            self._let_go(pid, hold)
            yield Loss(now, "names_of_steps", 1)

    def close(self) -> None:
        """Let everybody go; again, when the programs are detached: one may just have stopped."""
        self._give_sign(0)
        for pid, hold in self._waiting():
            self._let_go(pid, hold)

    # -- who waits ------------------------------------------------------------------------

    def _give_sign(self, now_ns: int) -> None:
        self._heartbeat.update(bytes(4), now_ns.to_bytes(8, "little"))
        self._last_sign_ns = now_ns

    def _write(self, table: Map, key: bytes, vector: int) -> None:
        table.update(key, vector_bytes(vector))
        for pid, hold in list(self._heard.items()):
            if key in (_step_key(hold.tag), _container_key(hold.container)):
                self._release(pid, hold)

    def _release(self, pid: int, hold: Hold) -> None:
        """Let go of one who has all that he waits for."""
        if not self._lacks(hold):
            self._let_go(pid, hold)

    def _waiting(self) -> Iterator[tuple[int, Hold]]:
        for key in self._holds.keys(_PID_BYTES):
            hold = self._hold_of(key)
            if hold is not None:
                yield int.from_bytes(key, "little"), hold

    def _hold_of(self, key: bytes) -> Hold | None:
        raw = self._holds.lookup(key, ctypes.sizeof(Hold))
        return None if raw is None else Hold.from_buffer_copy(raw)

    def _lacks(self, hold: Hold) -> bool:
        tables = (
            (Waits.STEP, self._steps, _step_key(hold.tag)),
            (Waits.CONTAINER, self._containers, _container_key(hold.container)),
        )
        return any(
            hold.waits & what and table.lookup(key, _VECTOR_BYTES) is None
            for what, table, key in tables
        )

    def _let_go(self, pid: int, hold: Hold) -> None:
        _continue(pid, hold.start)
        self._holds.discard(_pid_key(pid))
        self._heard.pop(pid, None)


def _continue(pid: int, start_ns: int) -> None:
    """Send SIGCONT to the process that was stopped, and to no other one with its number."""
    with contextlib.suppress(OSError):  # it has ended
        descriptor = os.pidfd_open(pid)
        try:
            found = proc.stat(pid)
            if found is not None and proc.same_start(found[1], start_ns):
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)
        finally:
            os.close(descriptor)


def _pid_key(pid: int) -> bytes:
    return pid.to_bytes(_PID_BYTES, "little")


def _step_key(tag: int) -> bytes:
    return tag.to_bytes(4, "little")


def _container_key(container: int) -> bytes:
    return container.to_bytes(8, "little")


__all__ = ["PATIENCE_S", "Owners"]
