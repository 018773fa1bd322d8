# SPDX-License-Identifier: MIT
"""The agent's process: claim the run directory, open the journal, serve."""

from __future__ import annotations

import os
from pathlib import Path

from leakstop.daemon import memory
from leakstop.daemon.agent import Agent
from leakstop.daemon.assemble import Guard, raise_guard
from leakstop.daemon.control import Channel
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifecycle import RunDir
from leakstop.daemon.request import ArmRequest


class _Guards:
    """Raises guards, and in the end overwrites the values that they held."""

    def __init__(self) -> None:
        note = memory.protect()
        self.notes = (note,) if note else ()
        self._raised: list[Guard] = []

    def arm(self, request: ArmRequest, run_dir: Path) -> Guard:
        guard = raise_guard(request, run_dir)
        self._raised.append(guard)
        return guard

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for guard in self._raised:
            memory.wipe(secret.value for secret in guard.sensor.secrets)


def serve_detached(run_dir: RunDir, owner_uid: int, group: int) -> None:
    """Serve a control socket until the guard is finished or the worker is gone."""
    os.umask(0o027)
    run_dir.claim(group)
    run_dir.keep_log()
    guards = _Guards()
    agent = Agent(
        run_dir.path,
        Journal.create(run_dir.journal),
        guards.arm,
        journal_path=run_dir.journal,
        owner_uid=owner_uid,
        notes=guards.notes,
    )
    with guards, run_dir.listen(group) as listener:
        agent.serve(listener=listener)
    run_dir.control.unlink(missing_ok=True)


def serve_owner(run_dir: RunDir, channel: Channel, journal: Journal, journal_path: Path) -> None:
    """Serve the one process that started this agent, and clean up after it if it dies."""
    guards = _Guards()
    agent = Agent(
        run_dir.path,
        journal,
        guards.arm,
        journal_path=journal_path,
        owner_uid=os.geteuid(),
        notes=guards.notes,
    )
    with guards:
        agent.serve(owner=channel)
    if agent.orphaned:
        run_dir.dissolve()
