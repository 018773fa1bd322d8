# SPDX-License-Identifier: MIT
"""Goes on with the guard of an agent that is gone: same programs, same tables, same account."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leakstop.daemon import fold, journal
from leakstop.daemon.assemble import Guard
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifeline import Estate
from leakstop.daemon.request import request_from_json, secret_from_json
from leakstop.engine.commands import Command
from leakstop.engine.core import Engine
from leakstop.model.coverage import Loss
from leakstop.secrets.inventory import Secret
from leakstop.sensor.inheritance import Inheritance


@dataclass(frozen=True, slots=True)
class Resumed:
    """A guard that goes on."""

    guard: Guard
    state: fold.State
    engine: Engine
    commands: Sequence[Command]
    """Of what the agent before had written down: whether it carried them out is not known."""


def resume(
    estate: Estate,
    arm: Callable[..., Guard],
    directory: Path,
    record: tuple[Path, Journal],
    keep: Callable[[Sequence[Secret]], None],
) -> Resumed:
    """Take over the guard in ``directory``; ``record``: its run directory, and its journal.

    Raises:
        UnsupportedError: its programs cannot be taken over.
    """
    request = request_from_json(estate.request)
    run_dir, written = record
    written.take_over()
    with written.reopened() as file:
        lost = Counter[str]()
        for event in journal.read(file):
            if isinstance(event, Loss):
                lost[event.where] += event.count
    found = (tuple(map(secret_from_json, secrets)) for secrets in estate.found)
    inherited = Inheritance(estate.pinned, tuple(found), lost, estate.since_ns)
    guard = arm(request, directory, keep=keep, inherited=inherited)
    # Of the file only what explains: who may write to it is root, like whoever ended the agent.
    kept = fold.load_state(run_dir)
    state = dataclasses.replace(
        kept, policy=guard.policy, secrets=guard.views, job=request.job, local=guard.local
    )
    engine = state.engine()
    with written.reopened() as file:
        commands = fold.refeed(file, engine)
    return Resumed(guard, state, engine, commands)


__all__ = ["Resumed", "resume"]
