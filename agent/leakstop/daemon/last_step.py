# SPDX-License-Identifier: MIT
"""Whether the action's own last step ended green without having asked for the report.

A step can put code into it: the runner starts it with the variables that steps have set
(GITHUB_ENV), and ``LD_PRELOAD`` or a library on ``LD_LIBRARY_PATH`` runs before the first line of
ours. Then nobody says what the agent knows, and the job must not be green for that. A job may use
the action more than once: each time has an agent, and a last step that asks this one alone.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from leakstop.daemon.lifecycle import RunDir
from leakstop.daemon.request import ArmRequest
from leakstop.model.event import Event, Exec, Exit
from leakstop.sensor import proc

_LEAST_NS = 50_000_000
"""No program of ours is done sooner: node alone takes as long to begin."""
_MOST = 64


class LastStep:
    """Follows it, for one guard."""

    def __init__(self, request: ArmRequest, run_dir: Path) -> None:
        self._worker = request.worker_pid
        self._script = str(PurePath(request.hook, "post.js")) if request.hook else ""
        self._finisher = request.finisher
        self._run_dir = run_dir
        self._begun: dict[int, tuple[int, bool]] = {}

    def see(self, event: Event) -> bool:
        """Take in an event of a guard in force; whether it is the one that must not be."""
        if isinstance(event, Exec) and self._worker and event.ppid == self._worker:
            self._begun.pop(event.pid, None)
            if self._is_it(event.argv) and len(self._begun) < _MOST:
                self._begin(event)
        elif isinstance(event, Exit) and event.pid in self._begun:
            since_ns, known = self._begun.pop(event.pid)
            return event.code == 0 and (known or event.ts_ns - since_ns < _LEAST_NS)
        return False

    def _is_it(self, argv: tuple[str, ...]) -> bool:
        if self._script and argv[1:] == (self._script,):
            return True
        return bool(self._finisher) and argv[-1:] == (self._finisher,)

    def _begin(self, event: Exec) -> None:
        if not self._is_anothers(proc.environ(event.pid)):
            # One that shows no environment has hidden it, or is gone.
            self._begun[event.pid] = event.ts_ns, proc.stat(event.pid) is not None

    def _is_anothers(self, environ: bytes) -> bool:
        """Whether it asks another agent: one that is there, whatever the process says of itself."""
        run = Path(os.path.normpath(proc.environ_value(environ, "STATE_run") or "."))
        mine = self._run_dir
        return run != mine and run.parent == mine.parent and RunDir(run).alive()


__all__ = ["LastStep"]
