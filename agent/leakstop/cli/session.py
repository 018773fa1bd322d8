# SPDX-License-Identifier: MIT
"""The agent of one ``leakstop run``, as its client sees it: a child at the end of a socket."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from leakstop.daemon import lifecycle
from leakstop.daemon.control import ANSWER_S, Channel
from leakstop.daemon.lifecycle import RunDir
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.errors import CoverageError
from leakstop.model.codec import from_json
from leakstop.model.report import Report
from leakstop.model.verdict import Mode

_PATIENCE_S = 5.0
"""How long an agent that was told to end may take."""
_BOTH_S = 0.5
"""So much later than its supervisor at most an agent ends that is ended with it."""

T = TypeVar("T")


class AgentProcess:
    """An agent that serves this process alone and ends with it."""

    def __init__(self, pid: int, channel: Channel, run_dir: RunDir, journal: BinaryIO) -> None:
        self.pid = pid
        self._channel = channel
        self._run_dir = run_dir
        self._journal = journal
        self._status: int | None = None
        self.mode: Mode | None = None
        """What the guard does, once it is in force."""

    @classmethod
    def start(cls, run_dir: RunDir, journal: BinaryIO) -> AgentProcess:
        """Fork the agent. It appends to ``journal``; this process may read it at any time."""
        ours, theirs = socket.socketpair()

        def serve() -> int:
            ours.close()
            # What the agent needs it imports here, beside the client's own work, and never
            # later: by then the job may have written to where we were loaded from.
            from leakstop.daemon.journal import Journal
            from leakstop.daemon.main import serve_owner

            return serve_owner(run_dir, Channel(theirs), Journal(journal.fileno()))

        pid = lifecycle.fork_agent(serve)
        theirs.close()
        return cls(pid, Channel(ours), run_dir, journal)

    def arm(self, request: ArmRequest, *, meanwhile: Callable[[], T]) -> T:
        """Put the guard in force; return what ``meanwhile`` has made of the time.

        Raises:
            LeakstopError: this machine cannot, or the policy does not fit.
        """
        self._channel.socket.settimeout(ANSWER_S)
        self._channel.put("arm", request=request_to_json(request))
        made = meanwhile()
        self.mode = Mode(self._channel.answer()["mode"])
        return made

    def look(self) -> None:
        """Notice at once if the agent died."""
        if self._status is None and self._reap() and self._hung_up():
            print(
                "leakstop: the agent ended while the command runs. What is denied stays denied, "
                "but coverage is lost.",
                file=sys.stderr,
            )

    def finish(self) -> Report:
        """Take the guard down; if the agent died, fold what it had written by then."""
        from leakstop.daemon import fold

        with contextlib.suppress(CoverageError):
            report: Report = from_json(Report, self._channel.ask("finish")["report"])
            return report
        return fold.fold(fold.load_state(self._run_dir.path), self._journal)

    def stop(self) -> None:
        """End the agent, by force if it does not go."""
        connection = self._channel.socket
        # Whoever still holds the other end, takes the guard down: its supervisor may be gone.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(_PATIENCE_S)
            while connection.recv(1 << 16):
                pass
        self._channel.close()
        deadline = time.monotonic() + _PATIENCE_S
        while not self._reap():
            if time.monotonic() >= deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)

    def _hung_up(self) -> bool:
        """Whether there is no agent any more: who ends its supervisor often ends both."""
        connection = self._channel.socket
        ready, _, _ = select.select([connection], [], [], _BOTH_S)
        return bool(ready) and not connection.recv(1, socket.MSG_PEEK)

    def _reap(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None


__all__ = ["AgentProcess"]
