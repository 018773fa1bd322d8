# SPDX-License-Identifier: MIT
"""Comparison in turns: a machine that is busy for a while is busy for both sides."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bench.figures import Compared
from bench.stage import Worker

PAUSE_S = 0.03
"""After each turn: what an agent still works on would count for the next worker."""

Order = Mapping[str, Any]
"""What ``load.py`` takes."""


class Turn(NamedTuple):
    """A worker, and what it has to do."""

    worker: Worker
    order: Order


def take_turns(pairs: Sequence[tuple[Turn, Turn]], rounds: int) -> list[Compared]:
    """Let every worker do its order in each round, and compare each pair's second to its first.

    Who begins changes from round to round.
    """
    cpu = min(os.sched_getaffinity(0))
    turns = [(number, side) for number in range(len(pairs)) for side in (0, 1)]
    took: dict[tuple[int, int], list[float]] = {turn: [] for turn in turns}
    for round_ in range(rounds):
        at = round_ % len(turns)
        for number, side in turns[at:] + turns[:at]:
            worker, order = pairs[number][side]
            took[number, side].append(worker.do(**order, cpu=cpu)["ns"] / 1000)
            time.sleep(PAUSE_S)
    return [Compared.of(took[number, 0], took[number, 1]) for number in range(len(pairs))]
