# SPDX-License-Identifier: MIT
"""The agent's process: claim the run directory, open the journal, serve under a supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leakstop.daemon import memory
from leakstop.daemon.agent import Agent
from leakstop.daemon.assemble import Guard, raise_guard
from leakstop.daemon.control import Channel
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifecycle import RunDir
from leakstop.daemon.lifeline import Lifeline
from leakstop.daemon.request import ArmRequest
from leakstop.daemon.supervisor import Supervisor


class _Guards:
    """Raises guards, and in the end overwrites the values that they held."""

    def __init__(self) -> None:
        note = memory.protect()
        self.notes = (note,) if note else ()
        self._raised: list[Guard] = []

    def arm(self, request: ArmRequest, run_dir: Path, **more: Any) -> Guard:
        guard = raise_guard(request, run_dir, supervisor=os.getppid(), **more)
        self._raised.append(guard)
        return guard

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for guard in self._raised:
            memory.wipe(secret.value for secret in guard.sensor.secrets)


def serve_detached(run_dir: RunDir, owner_uid: int, group: int) -> int:
    """Serve a control socket until the guard is finished or the worker is gone.

    Returns the exit code.
    """
    os.umask(0o027)
    run_dir.claim(group)
    run_dir.keep_log()
    with run_dir.listen(group) as listener:
        # Its own connections end with an agent; who connects meanwhile waits for the next one.
        code = _supervise(
            run_dir,
            Journal.create(run_dir.journal),
            lambda agent: agent.serve(listener=listener),
            owner_uid=owner_uid,
        )
    run_dir.control.unlink(missing_ok=True)
    return code


def serve_owner(run_dir: RunDir, channel: Channel, journal: Journal) -> int:
    """Serve the one process that started this agent, and clean up after it if it dies.

    Returns the exit code.
    """

    def serve(agent: Agent) -> None:
        agent.serve(owner=channel)
        if agent.orphaned:
            run_dir.dissolve()

    return _supervise(run_dir, journal, serve, owner_uid=os.geteuid())


def _supervise(
    run_dir: RunDir, journal: Journal, serve: Callable[[Agent], None], *, owner_uid: int
) -> int:
    """Serve with one agent after the other, if it has to be."""
    _load()

    def be_agent(lifeline: Lifeline) -> None:
        guards = _Guards()
        agent = Agent(
            run_dir.path,
            journal,
            guards.arm,
            journal_path=run_dir.journal,
            owner_uid=owner_uid,
            notes=guards.notes,
            lifeline=lifeline,
        )
        with guards:
            serve(agent)

    return Supervisor(run_dir.path, be_agent).run()


def _load() -> None:
    """Import what an agent needs while the disk still holds what was installed: one that is
    started again runs what is in memory."""
    from leakstop.sensor import kernel, load

    _ = kernel
    load.read_objects()


__all__ = ["serve_detached", "serve_owner"]
