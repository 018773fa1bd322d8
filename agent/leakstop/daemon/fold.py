# SPDX-License-Identifier: MIT
"""Folding a journal into a report: what the agent does as it goes, and anybody can do later.

``state.json`` beside the journal holds what the fold needs besides the events: the policy,
the secrets' names and homes (no values), the job, and where the journal is.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, BinaryIO

from leakstop.daemon import journal
from leakstop.engine.commands import Command
from leakstop.engine.core import Engine
from leakstop.errors import CoverageError, LeakstopError, trace
from leakstop.model.codec import from_json, to_json
from leakstop.model.coverage import Loss
from leakstop.model.event import Event, Started
from leakstop.model.report import Job, Report, SecretView
from leakstop.policy.canonical import from_canonical, to_canonical
from leakstop.policy.rules import IPNetwork, Policy

STATE = "state.json"
FINAL = "final.json"


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What a journal is about."""

    policy: Policy
    secrets: tuple[SecretView, ...]
    job: Job
    local: tuple[IPNetwork, ...]
    journal: Path
    run: str = ""
    """Tells this run from others that used the same directory."""
    words: str = ""
    """The machine's vocabulary (report/vocabulary.py); no fold needs it, renderers do."""

    def engine(self) -> Engine:
        """A fresh engine for this journal."""
        return Engine(self.policy, self.secrets, job=self.job, local=self.local)


def save_state(directory: Path, state: State) -> None:
    """Write ``state`` for whoever has to fold the journal after the agent's death.

    Raises:
        LeakstopError: the disk is full, or not there.
    """
    document = {
        "policy": to_canonical(state.policy).decode(),
        "secrets": to_json(state.secrets),
        "job": to_json(state.job),
        "local": [str(network) for network in state.local],
        "journal": str(state.journal),
        "run": state.run,
        "words": state.words,
    }
    try:
        _write(directory / STATE, document)
    except OSError as error:
        raise LeakstopError(
            f"the guard's record cannot be written: {error.strerror}",
            why="without it, nobody could tell what happened if the agent died",
            fix="make room on that disk",
            where=str(directory),
        ) from error


def load_state(directory: Path) -> State:
    """Read it back.

    Raises:
        CoverageError: it is not there, so the agent died before it guarded anything.
    """
    try:
        document = _read(directory / STATE)
    except (OSError, ValueError) as error:
        raise CoverageError(
            "there is no record of a guard here",
            why="no agent was armed with this run directory, or it cannot be read",
            fix="`leakstop start` first, or name another one with `--run-dir`",
            where=str(directory),
        ) from error
    return State(
        policy=from_canonical(document["policy"].encode()),
        secrets=from_json(tuple[SecretView, ...], document["secrets"]),
        job=from_json(Job, document["job"]),
        local=tuple(ip_network(text) for text in document["local"]),
        journal=Path(document["journal"]),
        run=from_json(str, document["run"]),
        words=from_json(str, document["words"]),
    )


def feed(engine: Engine, event: Event) -> list[Command]:
    """Feed one event; a fault of ours costs this event, never the guard.

    The event counts as lost, so the report says so, and in block mode the job fails.
    """
    try:
        return engine.feed(event)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the next event matters, too
        lost = f"leakstop: {type(event).__name__} was lost: {trace(error)}"
        print(lost, file=sys.stderr)  # noqa: T201 -- the agent's log
        return engine.feed(Loss(event.ts_ns, "engine", 1))


def refeed(lines: Iterable[bytes], engine: Engine) -> list[Command]:
    """Feed a whole journal to ``engine``; return what it commands after the last ``Started``.

    What it commands before that was done by the guard of that time.
    """
    commands: list[Command] = []
    for event in journal.read(lines):
        if isinstance(event, Started):
            commands.clear()
        commands += feed(engine, event)
    return commands


def fold(state: State, file: BinaryIO | None = None) -> Report:
    """Rebuild the report of an agent that cannot be asked any more.

    ``file`` is the journal where the caller has it open, so that nobody can have exchanged it.

    Raises:
        CoverageError: the journal cannot be read.
    """
    engine = state.engine()
    try:
        if file is not None:
            file.seek(0)
            refeed(file, engine)
        else:
            with state.journal.open("rb") as opened:
                refeed(opened, engine)
    except OSError as error:
        raise CoverageError(
            f"the agent is gone and its journal cannot be read: {error.strerror}",
            fix="treat what ran as unproven",
            where=str(state.journal),
        ) from error
    return engine.report()


def with_notes(report: Report, notes: Sequence[str]) -> Report:
    """Add ``notes`` to what the report says of its coverage."""
    if not notes:
        return report
    coverage = dataclasses.replace(report.coverage, notes=(*report.coverage.notes, *notes))
    return dataclasses.replace(report, coverage=coverage)


def save_final(directory: Path, report: Report, run: str) -> None:
    """Keep the report of a guard that ended in order."""
    _write(directory / FINAL, {"run": run, "report": to_json(report)})


def load_final(directory: Path) -> Report | None:
    """Read it back; ``None`` if the guard did not end in order, or it was another one."""
    try:
        document = _read(directory / FINAL)
        if document["run"] != load_state(directory).run:
            return None
        report: Report = from_json(Report, document["report"])
    except (OSError, ValueError, TypeError, KeyError, CoverageError):
        return None
    return report


def _read(path: Path) -> dict[str, Any]:
    """Read what the directory's owner has written there: no link, and nobody else's file.

    Raises:
        OSError: it is not there, or not that.
        ValueError: it is no JSON object.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != path.parent.stat().st_uid:
            raise PermissionError(errno.EPERM, "it is not the agent's", str(path))
        document = json.load(file)
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document


def _write(path: Path, document: object) -> None:
    """Write whole or not at all, readable for the run directory's group."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, flags, 0o640), "w") as file:
        json.dump(document, file, separators=(",", ":"))
    draft.replace(path)


__all__ = [
    "State",
    "feed",
    "fold",
    "load_final",
    "load_state",
    "refeed",
    "save_final",
    "save_state",
    "with_notes",
]
