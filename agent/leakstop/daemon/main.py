# SPDX-License-Identifier: MIT
"""The agent's process: claim the run directory, open the journal, serve."""

from __future__ import annotations

import os
from pathlib import Path

from leakstop.daemon.agent import Agent
from leakstop.daemon.assemble import raise_guard
from leakstop.daemon.control import Channel
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifecycle import RunDir


def serve_detached(run_dir: RunDir, owner_uid: int, group: int) -> None:
    """Serve a control socket until the guard is finished or the worker is gone."""
    os.umask(0o027)
    run_dir.claim(group)
    run_dir.keep_log()
    agent = Agent(
        run_dir.path,
        Journal.create(run_dir.journal),
        raise_guard,
        journal_path=run_dir.journal,
        owner_uid=owner_uid,
    )
    with run_dir.listen(group) as listener:
        agent.serve(listener=listener)
    run_dir.control.unlink(missing_ok=True)


def serve_owner(run_dir: RunDir, channel: Channel, journal: Journal, journal_path: Path) -> None:
    """Serve the one process that started this agent, and clean up after it if it dies."""
    agent = Agent(
        run_dir.path, journal, raise_guard, journal_path=journal_path, owner_uid=os.geteuid()
    )
    agent.serve(owner=channel)
    if agent.orphaned:
        run_dir.dissolve()
