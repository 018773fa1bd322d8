# SPDX-License-Identifier: MIT
"""The agent: events in, journal and engine, commands out, until somebody asks for the report.

One thread and one selector over the sensor, the control socket, the runner's worker and
SIGTERM. Nothing here decides: the kernel decides flows, the engine decides what they mean.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import select
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from leakstop.act import changes
from leakstop.act.cgroup import CommandCgroup
from leakstop.daemon import control, finisher, fold, resume
from leakstop.daemon.assemble import Guard
from leakstop.daemon.audience import Audience
from leakstop.daemon.control import Channel
from leakstop.daemon.custody import Custody
from leakstop.daemon.finisher import Refused
from leakstop.daemon.journal import Journal
from leakstop.daemon.last_step import LastStep
from leakstop.daemon.lifeline import ARMING_S, Estate, Lifeline, worker_pidfd
from leakstop.daemon.orders import Orders
from leakstop.daemon.request import ArmRequest, request_from_json
from leakstop.daemon.sensors import Sensor
from leakstop.daemon.signals import sigterm
from leakstop.engine.core import Engine
from leakstop.errors import LeakstopError, UsageError
from leakstop.model.codec import to_json
from leakstop.model.coverage import Finished, Gap
from leakstop.model.event import Event, Started
from leakstop.model.report import Report
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor.timer import now_ns

TICK_S = 0.25
"""Pause between two looks at a sensor without a descriptor, and at its loss counters."""

PACE_S = 0.005
"""Pause between two batches. Woken for every event, the agent would take the processor from
the job it watches (`make bench`: exec); what is denied, the kernel has denied already."""
_BUSY = 256
"""Events in a batch that show that more are waiting: then without a pause."""

UNARMED_S = 60.0
"""An agent that nobody arms ends after this time."""

Arm = Callable[..., Guard]
"""Builds and starts a sensor for a request: ``assemble.raise_guard``."""


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
        lifeline: Lifeline | None = None,
        clock_ns: Callable[[], int] = now_ns,
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
        self._lifeline = lifeline or Lifeline()
        self._custody = Custody(journal, clock_ns)
        self._audience = Audience(self._selector, owner_uid, self._answer, self._abandon)
        self._orders = Orders()
        self._last_step: LastStep | None = None
        self._worker = -1
        self._left: tuple[str, ...] = ()
        self._done = False
        self._born = time.monotonic()
        self.orphaned = False
        """The process that owned this agent hung up without asking for the report."""

    # -- life ---------------------------------------------------------------------------

    def serve(self, *, listener: socket.socket | None = None, owner: Channel | None = None) -> None:
        """Run until the end. ``owner`` is a channel whose hanging up ends the guard."""
        if listener is not None:
            self._audience.listen(listener)
        if owner is not None:
            self._audience.own(owner)
        if self._lifeline.fileno() >= 0:
            self._watch(self._lifeline.fileno(), self._hear_supervisor)
        with sigterm() as wakeup:
            self._watch(wakeup, lambda: self._asked_to_end(wakeup))
            if self._lifeline.estate.request:
                self._resume(self._lifeline.estate)
            while not self._done:
                self._lifeline.beat()
                for key, _ in self._selector.select(TICK_S):
                    if not self._done:
                        key.data()
                if self._pump() < _BUSY:
                    time.sleep(PACE_S)
                if not self._armed and time.monotonic() - self._born > UNARMED_S:
                    self._done = True
        if not self._armed:
            changes.undo(self._run_dir)  # of a guard that could not be put in force
        self._selector.close()
        self._custody.close()
        self._audience.close()

    def _watch(self, descriptor: Any, callback: Callable[[], object]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def _hear_supervisor(self) -> None:
        if self._lifeline.hear():
            return
        self._selector.unregister(self._lifeline.fileno())
        self._lifeline.cut()
        if self._guard is not None:
            now_ns = self._clock_ns()
            why = "the supervisor, which would start the agent again, is gone"
            self._record(Gap(now_ns, now_ns, why))

    def _asked_to_end(self, wakeup: socket.socket) -> None:
        """SIGTERM came. While the runner's worker lives, only its last step ends the guard: who
        sent the signal cannot be known, and root in the job could have asked systemd to."""
        wakeup.recv(64)
        if self._worker < 0 or select.select([self._worker], [], [], 0)[0]:
            self._end()

    def _end(self) -> None:
        """Take the guard down in order."""
        if self._guard is not None:
            self._finish()
        self._done = True

    def _abandon(self) -> None:
        """The owner died: nobody can report, so what it guarded ends before the guard does."""
        if self._done:
            return
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
            for since_ns, why in self._lifeline.gaps():
                self._record(Gap(self._clock_ns(), since_ns, why))
            for event in chain(self._custody.look(), self._guard.sensor.poll(0.0)):
                self._record(event)
                moved += 1
                if self._last_step is not None and self._last_step.see(event):
                    self._fail_job()
            self._orders.cut()
            self._journal.flush()
        return moved

    def _record(self, event: Event) -> None:
        assert self._engine is not None
        event = self._annotated(event)
        self._journal.write(event)
        self._orders.obey(fold.feed(self._engine, event))

    def _annotated(self, event: Event) -> Event:
        """Let the guard's beginning say why coverage is reduced, and what else there is to say."""
        if isinstance(event, Started) and self._guard is not None:
            said = (self._guard.note, *event.notes, *self._notes)
            return dataclasses.replace(event, notes=tuple(filter(None, said)))
        return event

    def _fail_job(self) -> None:
        """Whose worker dies has failed, whatever its steps said."""
        why = "the last step ended without having asked for the report: this ends the job"
        print(f"leakstop: {why}", file=sys.stderr, flush=True)  # noqa: T201
        if self._worker >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._worker, signal.SIGKILL)

    # -- questions ----------------------------------------------------------------------

    def _answer(self, message: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
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
                self._authorise(connection, question, str(message.get("key", "")))
            return {"ok": True, **questions[question](message)}
        except LeakstopError as error:
            # An agent that could not be armed has nothing to wait for.
            self._done = self._guard is None
            return {"ok": False, "error": control.error_to_json(error)}

    def _authorise(self, connection: socket.socket, question: str, key: str) -> None:
        """Refuse whoever may not change or end the guard; who tries leaves a trace.

        Raises:
            UsageError: who may not.
        """
        if self._guard is None or self._engine is None:
            return
        self._pump()  # what is known of the asker may still be on its way
        rules = finisher.Rules(self._guard.request, self._owner_uid, self._engine.lineage)
        try:
            rules.require(connection, question, key)
        except Refused as error:
            if error.of_job:
                self._record(Tamper(self._clock_ns(), error.pid, Trick.FINISH, question, True))
            raise

    def _status(self, _: dict[str, Any]) -> dict[str, Any]:
        guard = self._guard
        return {
            "state": "armed" if guard else "waiting",
            "pid": os.getpid(),
            "armed": self._armed,
            "mode": guard.policy.mode.value if guard else "",
            "digest": guard.policy.digest if guard else "",
            "scope": guard.request.scope if guard else "",
            "note": guard.note if guard else "",
        }

    # -- the guard ----------------------------------------------------------------------

    def _arm(self, message: dict[str, Any]) -> dict[str, Any]:
        """Put a guard in force; a second one replaces the first without a gap between them."""
        request = request_from_json(message.get("request", {}))
        worker = worker_pidfd(request.worker_pid) if request.worker_pid and not self._armed else -1
        self._lifeline.arming(request, self._armed + 1)
        try:
            guard, state = self._raise(request)
        except BaseException:
            self._lifeline.armed(done=False)
            raise
        self._state = state
        previous, self._guard = self._guard, guard
        if previous is None:
            self._engine = state.engine()
        else:
            self._replace(previous, state)
        self._armed += 1
        if guard.sensor.fileno() >= 0:
            self._watch(guard.sensor.fileno(), self._pump)
        self._watch_worker(worker)
        self._lifeline.armed(done=True)
        self._pump()
        return {"mode": guard.policy.mode.value, "note": guard.note}

    def _raise(self, request: ArmRequest) -> tuple[Guard, fold.State]:
        """Put a guard in force, and write down what it is about."""
        number = self._armed + 1
        guard = self._arm_sensor(request, self._guard_dir(number), keep=self._lifeline.found)
        kept = self._state
        run, words = (kept.run, kept.words) if kept else (secrets.token_hex(16), "")
        about = (guard.policy, guard.views, request.job, guard.local)
        state = fold.State(*about, self._journal_path, run, words)
        try:
            fold.save_state(self._run_dir, state)
        except LeakstopError:  # it could not be accounted for
            guard.sensor.close()
            raise
        return guard, state

    def _guard_dir(self, number: int) -> Path:
        return self._run_dir / f"guard-{number}"

    def _watch_worker(self, worker: int) -> None:
        self._last_step = LastStep(self._armed_guard().request)
        if worker >= 0:
            self._worker = worker
            self._watch(worker, self._end)

    def _resume(self, estate: Estate) -> None:
        """Go on with the guard of an agent that is gone."""
        self._lifeline.beat(ARMING_S)
        directory = self._guard_dir(estate.number)
        record = self._run_dir, self._journal
        back = resume.resume(self._lifeline, self._arm_sensor, directory, record)
        self._guard, self._state, self._engine = back.guard, back.state, back.engine
        self._armed = estate.number
        self._record(Gap(self._clock_ns(), estate.since_ns, estate.why))
        self._orders.obey(back.commands)
        if self._guard.sensor.fileno() >= 0:
            self._watch(self._guard.sensor.fileno(), self._pump)
        self._watch_worker(estate.worker)
        self._lifeline.attached()

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
        for event in self._custody.look(whole=True):
            self._record(event)
        fresh = [self._annotated(event) for event in self._guard.sensor.poll(0.0)]
        for event in fresh:
            self._journal.write(event)
        self._journal.flush()
        self._engine = state.engine()
        if self._journal.lost:
            for event in fresh:
                self._orders.obey(fold.feed(self._engine, event))
        else:
            with self._journal.reopened() as file:
                self._orders.obey(fold.refeed(file, self._engine))

    def _close_sensor(self, sensor: Sensor) -> None:
        if sensor.fileno() >= 0:
            self._selector.unregister(sensor.fileno())
        sensor.close()

    def _finish(self) -> Report:
        """Close the guard, and leave the report where a later question finds it."""
        guard = self._armed_guard()
        guard.sensor.look()
        self._pump()
        self._lifeline.ending()
        self._pump()  # it may have told meanwhile since when this one was stopped
        self._close_sensor(guard.sensor)
        self._left = guard.undo()
        for event in self._custody.look(whole=True):
            self._record(event)
        self._record(Finished(ts_ns=self._clock_ns()))
        self._journal.close()
        report = self._report(finished=True)
        self._guard = None
        self._done = True
        try:
            fold.save_final(self._run_dir, report, self._state.run if self._state else "")
        except OSError as error:
            print(f"leakstop: the report was not kept: {error}", file=sys.stderr)  # noqa: T201
        return report

    def _report(self, *, finished: bool) -> Report:
        self._armed_guard()
        assert self._engine is not None
        report = self._engine.report(final=finished)
        return fold.with_notes(report, (*self._journal.notes(), *self._left))

    def _armed_guard(self) -> Guard:
        if self._guard is None:
            raise UsageError("nothing is guarded", fix="`leakstop start` first")
        return self._guard


__all__ = ["Agent", "Arm"]
