# SPDX-License-Identifier: MIT
"""Starts the agent, and starts it again onto the guard that is in force.

The parent of every agent: it does nothing by itself, so that there is little that could end it.
It keeps in locked memory what the next agent needs (daemon/lifeline.py), and descriptors of the
programs' links and maps: while it lives, unpinning them takes nothing out of force.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from leakstop.act.cgroup import is_frozen
from leakstop.bpf import pins
from leakstop.daemon import memory
from leakstop.daemon.control import Channel
from leakstop.daemon.lifeline import (
    ARMING_S,
    PATIENCE_S,
    Estate,
    Lifeline,
    Pulse,
    spare_from_oom,
)
from leakstop.errors import trace
from leakstop.sensor.timer import now_ns

TICK_S = 0.1
"""Pause between two looks at the agent."""
PAUSES_S = (0.0, 0.5, 1.5, 4.0, 9.0)
"""Before each restart within a minute. More would help nobody, and so many at once nobody either:
where memory is short, agents that come at once die one after the other."""
RESTARTS = len(PAUSES_S)
RESTARTS_S = 60.0
_SILENT_S = 1.0
"""From then on a look at why is due."""
_LATE_S = 2.0
"""A tick that comes so late says that this process was held up as well."""
_DYING_S = 1.0

Serve = Callable[[Lifeline], None]
"""Is the agent."""


@dataclass(slots=True)
class _Child:
    """One agent."""

    pid: int
    descriptor: int
    channel: Channel | None
    continued: bool = False
    """It was stopped once, and let go on."""

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)
        if self.channel is not None:
            self.channel.close()


class Supervisor:
    """One guard's."""

    def __init__(self, run_dir: Path, serve: Serve) -> None:
        self._run_dir = run_dir
        self._serve = serve
        self._pulse = Pulse()
        self._estate = Estate()
        self._next: Estate | None = None
        self._ending = False
        self._restarted: deque[float] = deque()
        self._child: _Child | None = None
        self._patient_until = 0.0

    def run(self) -> int:
        """Have a guard from its beginning to its end; return the exit code of its last agent."""
        memory.protect()
        spare_from_oom()
        with self._signals():
            while True:
                self._child = child = self._start()
                try:
                    code, why = self._watch(child)
                finally:
                    self._child = None  # a signal finds no descriptor that is another's by now
                    child.close()
                if code == 0 or not self._estate.request or self._ending:
                    return code
                self._say(why)
                if not self._may_restart():
                    self._say("it is not started again: what is denied stays denied")
                    return code
                self._estate.since_ns, self._estate.why = self._pulse.last_ns, why
                self._hold()
                time.sleep(PAUSES_S[len(self._restarted) - 1])

    # -- one agent ----------------------------------------------------------------------

    def _start(self) -> _Child:
        """Have one, once a guard is in force however long that takes: memory may be short."""
        said = False
        while True:
            try:
                return self._begin()
            except OSError as error:
                if not self._estate.request:
                    raise
                if not said:
                    self._say(f"no agent can be started: {error.strerror}; it is tried again")
                said = True
            time.sleep(TICK_S)

    def _begin(self) -> _Child:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._pulse.beat(ARMING_S)
                pid = os.fork()
                if pid == 0:
                    ours.close()
                    self._be_agent(theirs)
            ours.setblocking(False)
            return _Child(pid, _descriptor_of(pid), Channel(ours))
        except OSError:
            ours.close()
            raise

    def _be_agent(self, connection: socket.socket) -> None:
        """Never returns."""
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            spare_from_oom()
            lifeline = Lifeline(connection, self._pulse)
            lifeline.estate = self._estate
            self._serve(lifeline)
            code = 0
        except BaseException as error:  # noqa: BLE001 -- the next one needs to know nothing of it
            self._say(f"the agent ended: {trace(error)}")
        finally:
            os._exit(code)

    def _watch(self, child: _Child) -> tuple[int, str]:
        """Wait for the end of an agent; return its exit code, and in words what ended it."""
        why = ""
        while True:
            before = time.monotonic()
            self._listen(child)
            state = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WSTOPPED | os.WNOHANG)
            if state is not None and state.si_code != os.CLD_STOPPED:
                while self._hear(child):
                    pass  # its last words: what the kernel knows, the next one has to know
                return _code(state), why or _ended(state)
            if time.monotonic() - before > TICK_S + _LATE_S:
                # Then the agent was held up, too. It says so itself, once it gets to it.
                self._patient_until = time.monotonic() + PATIENCE_S
            stopped = state is not None
            if stopped and not child.continued:
                self._let_go_on(child)
            elif trouble := self._trouble(child, stopped=stopped):
                why = trouble
                os.kill(child.pid, signal.SIGKILL)
                if not select.select([child.descriptor], [], [], _DYING_S)[0]:
                    return 1, why  # frozen where a kill waits; it does nothing more

    def _trouble(self, child: _Child, *, stopped: bool) -> str:
        """Why an agent that is there is of no use; empty if it goes on."""
        if stopped:
            return "the agent was stopped again"
        silent_s = (now_ns() - self._pulse.last_ns) / 1e9
        if silent_s > _SILENT_S and is_frozen(child.pid):
            return "the agent was frozen"
        if self._pulse.overdue and time.monotonic() > self._patient_until:
            return f"the agent did not go on for {silent_s:.0f} s"
        return ""

    def _let_go_on(self, child: _Child) -> None:
        since_ns = self._pulse.last_ns
        child.continued = True
        os.kill(child.pid, signal.SIGCONT)
        if child.channel is not None:
            with contextlib.suppress(OSError):
                why = "the agent was stopped"
                child.channel.send({"what": "away", "since_ns": since_ns, "why": why})

    # -- what it leaves -----------------------------------------------------------------

    def _listen(self, child: _Child) -> None:
        """Wait for a tick, or for what the agent says."""
        watched = [child.descriptor]
        if child.channel is not None:
            watched.append(child.channel.socket.fileno())
        ready, _, _ = select.select(watched, [], [], TICK_S)
        if child.channel is not None and child.channel.socket.fileno() in ready:
            self._hear(child)

    def _hear(self, child: _Child) -> bool:
        """Take in what the agent has said; ``False`` if that is nothing."""
        if child.channel is None:
            return False
        try:
            messages = child.channel.take(child.channel.socket.recv(1 << 20))
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            messages = None
        if messages is None:
            child.channel.close()
            child.channel = None
        for message in messages or ():
            self._take(message)
            if child.channel is not None and message["what"] in ("armed", "ending"):
                with contextlib.suppress(OSError):
                    child.channel.send({"what": "let go"})
        return child.channel is not None

    def _take(self, message: dict[str, object]) -> None:
        what, estate = message["what"], self._next or self._estate
        if what == "arming":
            self._next = Estate(request=message["request"], number=message["number"])  # type: ignore[arg-type]
        elif what == "found" and message["secrets"] not in estate.found:
            estate.found.append(message["secrets"])  # type: ignore[arg-type]
        elif what == "ending":
            self._ending = True
            self._release()
        elif what == "armed" and self._next is not None:
            if message["done"]:
                self._release()
                # The one that the agent watches: its number may be another's by now.
                self._next.worker = self._estate.worker
                self._estate = self._next
                self._hold()
            self._next = None
        elif what == "attached":
            self._release()
            self._hold()

    def _hold(self) -> None:
        """Hold what is in force, whoever unpins it."""
        estate = self._estate
        worker = int(estate.request["settings"]["worker_pid"])
        if worker and estate.worker < 0:
            with contextlib.suppress(OSError):
                estate.worker = os.pidfd_open(worker)
        directory = self._run_dir / f"guard-{estate.number}" / "bpf"
        for name, descriptor in pins.held(directory).items():
            if name in estate.pinned:
                os.close(descriptor)
            else:
                estate.pinned[name] = descriptor

    def _release(self) -> None:
        for descriptor in self._estate.pinned.values():
            os.close(descriptor)
        self._estate.pinned.clear()

    # -- this process -------------------------------------------------------------------

    def _may_restart(self) -> bool:
        now = time.monotonic()
        while self._restarted and now - self._restarted[0] > RESTARTS_S:
            self._restarted.popleft()
        self._restarted.append(now)
        return len(self._restarted) <= RESTARTS

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Whether to end is the agent's to decide. Ctrl-C is for the command."""
        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: self._pass_on()),
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self) -> None:
        if self._child is not None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._child.descriptor, signal.SIGTERM)

    def _say(self, text: str) -> None:
        print(f"leakstop: {text}", file=sys.stderr, flush=True)  # noqa: T201 -- its log


def _descriptor_of(child: int) -> int:
    """A pidfd. Without one it cannot be watched, so it may not be there either."""
    try:
        return os.pidfd_open(child)
    except OSError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _code(state: os.waitid_result) -> int:
    return state.si_status if state.si_code == os.CLD_EXITED else 128 + state.si_status


def _ended(state: os.waitid_result) -> str:
    if state.si_code == os.CLD_EXITED:
        return f"the agent ended with code {state.si_status}"
    return f"the agent was killed by {signal.Signals(state.si_status).name}"


__all__ = ["RESTARTS", "Serve", "Supervisor"]
