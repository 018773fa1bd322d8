# SPDX-License-Identifier: MIT
"""Whether the action's own last step ended green without having asked for the report.

A step can put code into it: the runner starts it with the variables that steps have set
(GITHUB_ENV), and ``LD_PRELOAD`` or a library on ``LD_LIBRARY_PATH`` runs before the first line of
ours. Then nobody says what the agent knows, and the job must not be green for that. A second use
of the action in the same job is refused, and its last step is red (cli/hook.py).
"""

from __future__ import annotations

from pathlib import PurePath

from leakstop.daemon.request import ArmRequest
from leakstop.model.event import Event, Exec, Exit

_MOST = 64


class LastStep:
    """Follows it, for one guard."""

    def __init__(self, request: ArmRequest) -> None:
        self._worker = request.worker_pid
        self._script = str(PurePath(request.hook, "post.js")) if request.hook else ""
        self._finisher = request.finisher
        self._begun: set[int] = set()

    def see(self, event: Event) -> bool:
        """Take in an event of a guard in force; whether it is the one that must not be."""
        if isinstance(event, Exec) and self._worker and event.ppid == self._worker:
            # For good: what was put into it can make it another program.
            if self._is_it(event.argv) and len(self._begun) < _MOST:
                self._begun.add(event.pid)
        elif isinstance(event, Exit) and event.pid in self._begun:
            self._begun.discard(event.pid)
            return event.code == 0
        return False

    def _is_it(self, argv: tuple[str, ...]) -> bool:
        if self._script and argv[1:] == (self._script,):
            return True
        return bool(self._finisher) and argv[-1:] == (self._finisher,)


__all__ = ["LastStep"]
