# SPDX-License-Identifier: MIT
"""Goes on with the guard of an agent that is gone: same programs, same tables, same account."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from leakstop.daemon import fold, journal
from leakstop.daemon.assemble import Guard
from leakstop.daemon.journal import Journal
from leakstop.daemon.lifeline import ARMING_S, Lifeline
from leakstop.daemon.request import request_from_json, secret_from_json
from leakstop.engine.commands import Command
from leakstop.engine.core import Engine
from leakstop.model.coverage import Loss
from leakstop.sensor.inheritance import Inheritance

_AT_A_TIME = 1 << 14
"""Events: half a second, on a slow machine some."""
_LOSS = b'"loss"'


@dataclass(frozen=True, slots=True)
class Resumed:
    """A guard that goes on."""

    guard: Guard
    state: fold.State
    engine: Engine
    commands: Sequence[Command]
    """Of what the agent before had written down: whether it carried them out is not known."""


def resume(
    line: Lifeline, arm: Callable[..., Guard], directory: Path, record: tuple[Path, Journal]
) -> Resumed:
    """Take over the guard in ``directory``; ``record``: its run directory, and its journal.

    Raises:
        UnsupportedError: its programs cannot be taken over.
    """
    estate, (run_dir, written) = line.estate, record
    request = request_from_json(estate.request)
    written.take_over()
    with written.reopened() as file:
        lost = _losses(_beating(line, file))
    found = (tuple(map(secret_from_json, secrets)) for secrets in estate.found)
    inherited = Inheritance(estate.pinned, tuple(found), lost, estate.since_ns)
    guard = arm(request, directory, keep=line.found, inherited=inherited)
    # Of the file only what explains: who may write to it is root, like whoever ended the agent.
    kept = fold.load_state(run_dir)
    state = dataclasses.replace(
        kept, policy=guard.policy, secrets=guard.views, job=request.job, local=guard.local
    )
    engine = state.engine()
    with written.reopened() as file:
        commands = fold.refeed(_beating(line, file), engine)
    return Resumed(guard, state, engine, commands)


def _beating(line: Lifeline, file: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a journal. That of a long job takes minutes, and who reads it goes on."""
    for number, each in enumerate(file):
        if number % _AT_A_TIME == 0:
            line.beat(ARMING_S)
        yield each


def _losses(lines: Iterable[bytes]) -> Counter[str]:
    """What was counted as lost. Few lines are of that, so only those are read that may be."""
    lost = Counter[str]()
    for event in journal.read(line for line in lines if _LOSS in line):
        if isinstance(event, Loss):
            lost[event.where] += event.count
    return lost


__all__ = ["Resumed", "resume"]
