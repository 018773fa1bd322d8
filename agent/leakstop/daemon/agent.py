# SPDX-License-Identifier: MIT
"""The agent: events in, journal and engine, commands out, until somebody asks for the report.

One thread and one selector over the sensor, the control socket, the runner's worker and
SIGTERM. Nothing here decides: the kernel decides flows, the engine decides what they mean.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from leakstop.act import cut as cutter
from leakstop.act import kill as killer
from leakstop.act.cgroup import CommandCgroup
from leakstop.daemon import control, fold
from leakstop.daemon.assemble import Guard
from leakstop.daemon.control import Channel
from leakstop.daemon.journal import Journal
from leakstop.daemon.request import ArmRequest, request_from_json
from leakstop.daemon.sensors import Sensor
from leakstop.engine.commands import Command, Cut
from leakstop.engine.core import Engine
from leakstop.errors import LeakstopError, UsageError
from leakstop.model.codec import to_json
from leakstop.model.event import Event, Finished, Started
from leakstop.model.report import Report

TICK_S = 0.25
"""Pause between two looks at a sensor without a descriptor, and at its loss counters."""

ANSWER_S = 5.0
"""Patience with a peer that does not read its answer."""

PACE_S = 0.005
"""Pause between two batches. Woken for every event, the agent would take the processor from
the job it watches (`make bench`: exec); what is denied, the kernel has denied already."""
_BUSY = 256
"""Events in a batch that show that more are waiting: then without a pause."""

UNARMED_S = 60.0
"""An agent that nobody arms ends after this time."""

MAX_CHANNELS = 16
"""Connections at a time: more would only be a way to run the agent out of descriptors."""

Arm = Callable[[ArmRequest, Path], Guard]
"""Builds and starts a sensor for a request, with a directory of its own."""


class Agent:
    """Guards until ``finish`` is asked, SIGTERM comes, or the runner's worker is gone."""

    def __init__(
        self,
        run_dir: Path,
        journal: Journal,
        arm: Arm,
        *,
        journal_path: Path,
        owner_uid: int = 0,
        notes: tuple[str, ...] = (),
        clock_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    ) -> None:
        self._run_dir = run_dir
        self._journal = journal
        self._journal_path = journal_path
        self._arm_sensor = arm
        self._owner_uid = owner_uid
        self._notes = notes
        self._clock_ns = clock_ns
        self._selector = selectors.DefaultSelector()
        self._guard: Guard | None = None
        self._engine: Engine | None = None
        self._armed = 0
        self._state: fold.State | None = None
        self._channels: dict[Channel, None] = {}
        self._owner: Channel | None = None
        self._to_cut: dict[int, int] = {}
        self._done = False
        self._born = time.monotonic()
        self.orphaned = False
        """The process that owned this agent hung up without asking for the report."""

    # -- life ---------------------------------------------------------------------------

    def serve(self, *, listener: socket.socket | None = None, owner: Channel | None = None) -> None:
        """Run until the end. ``owner`` is a channel whose hanging up ends the guard."""
        if listener is not None:
            accepting = listener
            self._watch(accepting, lambda: self._accept(accepting))
        if owner is not None:
            self._owner = owner
            self._attend(owner)
        with self._sigterm() as wakeup:
            self._watch(wakeup, self._end)
            while not self._done:
                for key, _ in self._selector.select(TICK_S):
                    if not self._done:
                        key.data()
                if self._pump() < _BUSY:
                    time.sleep(PACE_S)
                if not self._armed and time.monotonic() - self._born > UNARMED_S:
                    self._done = True
        self._selector.close()
        for channel in self._channels:
            channel.close()

    @contextlib.contextmanager
    def _sigterm(self) -> Iterator[socket.socket]:
        """Turn SIGTERM into a readable socket. Ctrl-C is for the command, not for the guard."""
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: None),
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        }
        wakeup = signal.set_wakeup_fd(writing.fileno())
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            reading.close()
            writing.close()

    def _watch(self, descriptor: Any, callback: Callable[[], object]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def _end(self) -> None:
        """Take the guard down in order."""
        if self._guard is not None:
            self._finish()
        self._done = True

    def _abandon(self) -> None:
        """The owner died: nobody can report, so what it guarded ends before the guard does."""
        request = self._guard.request if self._guard else None
        if request is not None and request.scope == "command" and request.cgroup:
            command = CommandCgroup(Path(request.cgroup))
            command.kill()
            command.remove()
        self.orphaned = True
        self._end()

    # -- events -------------------------------------------------------------------------

    def _pump(self) -> int:
        """Move what the sensor has through the journal and the engine; how much that was."""
        moved = 0
        if self._guard is not None:
            for event in self._guard.sensor.poll(0.0):
                self._record(event)
                moved += 1
            self._cut()
            self._journal.flush()
        return moved

    def _record(self, event: Event) -> None:
        assert self._engine is not None
        event = self._annotated(event)
        self._journal.write(event)
        self._obey(fold.feed(self._engine, event))

    def _annotated(self, event: Event) -> Event:
        """Let the guard's beginning say why coverage is reduced, and what else there is to say."""
        if isinstance(event, Started) and self._guard is not None:
            said = (self._guard.note, *event.notes, *self._notes)
            return dataclasses.replace(event, notes=tuple(filter(None, said)))
        return event

    def _obey(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, Cut):
                self._to_cut[command.cookie] = command.pid
            else:
                killer.kill(command.pid, command.start_ns)

    def _cut(self) -> None:
        """End what is to be cut, together: finding sockets takes as long for many as for one."""
        sockets, self._to_cut = self._to_cut, {}
        # Uncut it would only be waited for in vain: no reason to end the guard.
        with contextlib.suppress(OSError, RuntimeError):
            cutter.cut(sockets)

    # -- questions ----------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the peer gave up, or we are out of descriptors: neither may end the guard
        if control.peer_uid(connection) not in (0, self._owner_uid):
            connection.close()
            return
        self._attend(Channel(connection))
        # A job that opens connections and says nothing must not lock the last step out.
        if len(self._channels) > MAX_CHANNELS:
            self._dismiss(next(old for old in self._channels if old is not self._owner))

    def _attend(self, channel: Channel) -> None:
        self._channels[channel] = None
        channel.socket.settimeout(ANSWER_S)
        self._watch(channel.socket, lambda: self._hear(channel))

    def _hear(self, channel: Channel) -> None:
        if channel not in self._channels:
            return  # dismissed in this very round
        try:
            messages = channel.take(channel.socket.recv(1 << 16))
            for message in messages or ():
                channel.send(self._answer(message, control.peer_uid(channel.socket)))
        except (OSError, ValueError):
            messages = None
        if messages is None:
            self._dismiss(channel)
            if channel is self._owner and not self._done:
                self._abandon()

    def _dismiss(self, channel: Channel) -> None:
        del self._channels[channel]
        self._selector.unregister(channel.socket)
        channel.close()

    def _answer(self, message: dict[str, Any], uid: int) -> dict[str, Any]:
        questions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "status": self._status,
            "arm": self._arm,
            "words": self._learn,
            "report": lambda _: {"report": to_json(self._report(finished=False))},
            "finish": lambda _: {"report": to_json(self._finish())},
        }
        question = str(message.get("ask"))
        try:
            if question not in questions:
                raise UsageError(f"unknown question {question[:40]!r}")
            if question in ("arm", "words", "finish"):
                self._authorise(uid, str(message.get("key", "")))
            return {"ok": True, **questions[question](message)}
        except LeakstopError as error:
            # An agent that could not be armed has nothing to wait for.
            self._done = self._guard is None
            return {"ok": False, "error": control.error_to_json(error)}

    def _authorise(self, uid: int, key: str) -> None:
        expected = self._guard.request.finish_key if self._guard else ""
        if not control.may_command(uid, self._owner_uid, key, expected):
            raise UsageError(
                "only the one who armed the guard may change or end it",
                why="the key that was set when it was armed is missing or wrong",
                fix="ask as root, or let the action's own last step end it",
            )

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        guard = self._guard
        return {
            "state": "armed" if guard else "waiting",
            "pid": os.getpid(),
            "armed": self._armed,
            "mode": guard.policy.mode.value if guard else "",
            "digest": guard.policy.digest if guard else "",
            "scope": guard.request.scope if guard else "",
        }

    # -- the guard ----------------------------------------------------------------------

    def _arm(self, message: dict[str, Any]) -> dict[str, Any]:
        """Put a guard in force; a second one replaces the first without a gap between them."""
        request = request_from_json(message.get("request", {}))
        worker = _pidfd(request.worker_pid) if request.worker_pid and not self._armed else -1
        guard = self._arm_sensor(request, self._run_dir / f"guard-{self._armed + 1}")
        words = self._state.words if self._state else ""
        state = fold.State(
            guard.policy, guard.views, request.job, guard.local, self._journal_path, words
        )
        self._keep(state, guard.sensor)
        self._state = state
        previous, self._guard = self._guard, guard
        if previous is None:
            self._engine = state.engine()
        else:
            self._replace(previous, state)
        self._armed += 1
        if guard.sensor.fileno() >= 0:
            self._watch(guard.sensor.fileno(), self._pump)
        if worker >= 0:
            self._watch(worker, self._end)
        self._pump()
        return {"mode": guard.policy.mode.value, "note": guard.note}

    def _keep(self, state: fold.State, sensor: Sensor) -> None:
        """Write ``state`` down, or take ``sensor`` down: its guard could not be accounted for."""
        try:
            fold.save_state(self._run_dir, state)
        except OSError as error:
            sensor.close()
            raise LeakstopError(
                f"the guard's record cannot be written: {error.strerror}",
                why="without it, nobody could tell what happened if the agent died",
                fix="make room on that disk",
                where=str(self._run_dir),
            ) from error

    def _learn(self, message: dict[str, Any]) -> dict[str, Any]:
        """Keep the first words that come: later ones may be the job's."""
        self._armed_guard()
        if self._state is not None and not self._state.words:
            self._state = dataclasses.replace(self._state, words=str(message.get("words", "")))
            fold.save_state(self._run_dir, self._state)
        return {}

    def _replace(self, previous: Guard, state: fold.State) -> None:
        """Let the guard that is in force now judge what the one before saw, too."""
        assert self._guard is not None
        for event in previous.sensor.poll(0.0):
            self._journal.write(event)
        self._close_sensor(previous.sensor)
        fresh = [self._annotated(event) for event in self._guard.sensor.poll(0.0)]
        for event in fresh:
            self._journal.write(event)
        self._journal.flush()
        self._engine = state.engine()
        if self._journal.lost:
            for event in fresh:
                self._obey(fold.feed(self._engine, event))
        else:
            with self._journal_path.open("rb") as file:
                self._obey(fold.refeed(file, self._engine))

    def _close_sensor(self, sensor: Sensor) -> None:
        if sensor.fileno() >= 0:
            self._selector.unregister(sensor.fileno())
        sensor.close()

    def _finish(self) -> Report:
        """Close the guard, and leave the report where a later question finds it."""
        guard = self._armed_guard()
        self._pump()
        self._close_sensor(guard.sensor)
        self._record(Finished(ts_ns=self._clock_ns()))
        self._journal.close()
        report = self._report(finished=True)
        self._guard = None
        self._done = True
        try:
            fold.save_final(self._run_dir, report)
        except OSError as error:
            print(f"leakstop: the report was not kept: {error}", file=sys.stderr)  # noqa: T201
        return report

    def _report(self, *, finished: bool) -> Report:
        self._armed_guard()
        assert self._engine is not None
        report = self._engine.report(final=finished)
        return fold.with_notes(report, self._journal.notes())

    def _armed_guard(self) -> Guard:
        if self._guard is None:
            raise UsageError("nothing is guarded", fix="`leakstop start` first")
        return self._guard


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        raise UsageError(
            f"the worker, process {pid}, is not there: {error.strerror}",
            fix="name a running process with `--worker`",
        ) from error


__all__ = ["Agent", "Arm"]
