# SPDX-License-Identifier: MIT
"""Bad input from fixed seeds: rounds of a fuzz target, and good input of any kind made bad.

``LEAKSTOP_FUZZ=100 pytest tests/fuzz`` tries a hundred times as much as the tests do.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

TIMES = int(os.environ.get("LEAKSTOP_FUZZ", "1"))
"""How many times as much is tried."""
PATIENCE_S = 5.0
"""Processor time of one round: whatever takes longer hangs."""

AnyText = TypeVar("AnyText", str, bytes)

JUNK = (
    None, True, False, 0, 1, -1, 1 << 16, 1 << 31, 1 << 64, 10**400, 0.5, 1e308, "", " ", "\0",
    "a", "*", "\ud800", "é", "\u202e", "1" * 5000, [], {}, [[]], {"": None}, [None], ["a", 1],
)  # fmt: skip
"""Values that JSON can hold and nobody wants."""


def fuzz(name: str, rounds: int, target: Callable[[Random], object]) -> None:
    """Try ``target`` with so many seeds; a failure names its own."""
    for number in range(rounds * TIMES):
        seed = f"{name} {number}"
        began = time.process_time()
        try:
            target(Random(seed))
        except Exception as error:
            raise AssertionError(f"with Random({seed!r}): {error!r}") from error
        took = time.process_time() - began
        assert took < PATIENCE_S, f"Random({seed!r}) takes {took:.1f} s"


def bend(random: Random, samples: Sequence[AnyText], words: Sequence[AnyText]) -> AnyText:
    """Change one of ``samples`` in a few places: cut, repeat, exchange, put ``words`` in."""
    data = random.choice(samples)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        begin = random.randint(0, len(data))
        end = min(len(data), begin + random.choice((0, 1, 1, 2, 5, 40)))
        other = random.choice(samples)
        start = random.randint(0, len(other))
        put = random.choice(
            (
                data[:0],
                random.choice(words),
                data[begin:end] * random.choice((2, 3, 70)),
                other[start : start + random.choice((1, 4, 60))],
            )
        )
        data = data[:begin] + put + data[end:]
    return data[: random.randint(0, len(data))] if random.random() < 0.1 else data


def bend_json(random: Random, document: Any) -> Any:
    """A copy of a JSON value with a few things in it exchanged, taken out, doubled or added."""
    changed = copy.deepcopy(document)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        changed = _bend_one(random, changed)
    return changed


def _bend_one(random: Random, document: Any) -> Any:
    spots = list(_spots(document))
    if not spots or random.random() < 0.02:
        return _junk(random)
    holder, key = random.choice(spots)
    donor, other = random.choice(spots)
    work = random.randrange(6)
    if work == 0:
        del holder[key]
    elif work == 1:
        holder[key] = copy.deepcopy(donor[other])
    elif work == 2 and isinstance(holder, list):
        holder.insert(random.randint(0, len(holder)), copy.deepcopy(holder[key]))
    elif work == 3 and isinstance(holder, list):
        random.shuffle(holder)
    elif work == 4 and isinstance(holder, dict):
        holder[str(random.choice((key, other, "extra")))] = _junk(random)
    elif work == 5 and isinstance(holder[key], str):
        holder[key] = bend(random, [holder[key]], [".", "*.", "::", "/", "\n", "Ä", "0"])
    else:
        holder[key] = _junk(random)
    return document


def _junk(random: Random) -> Any:
    return copy.deepcopy(random.choice(JUNK))


def _spots(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value where something stands."""
    keys = list(value) if isinstance(value, dict) else range(len(value) if _is_list(value) else 0)
    found = [(value, key) for key in keys]
    for key in keys:
        found += _spots(value[key])
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
