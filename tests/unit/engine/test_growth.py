# SPDX-License-Identifier: MIT
"""A job that goes on for long costs no more memory than one that does not.

The real thing is `python tests/bench/run.py soak`; this one finds a table without a bound sooner.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

from leakstop.engine.core import Engine
from leakstop.model.event import Event
from leakstop.model.verdict import Carriage, Mode
from story import (
    REFUSED,
    allow,
    answers,
    asks,
    carrying,
    connects,
    execs,
    exits,
    fork,
    found,
    guarded,
    looked_into,
    opaque,
    shows,
    started,
    writes,
)

FULL, MORE = 4500, 1000
"""Processes that fill every table that such a job fills, and further ones."""
WORKER, SHELL = 1, 10
IP = "198.51.100.7"


def visits(first: int, count: int) -> Iterator[Event]:
    """Short processes; each looks a name up, goes there, and is refused two other places."""
    for number in range(first, first + count):
        pid = 1000 + number
        yield fork(pid, SHELL, start_ns=number)
        yield execs(pid, "curl", "curl", f"{number:08}", ppid=SHELL, start_ns=number)
        yield asks(pid, f"h{number % 100:02}.example.test")
        yield answers(f"h{number % 100:02}.example.test", IP)
        yield connects(pid, IP)
        yield connects(pid, f"203.0.113.{number % 100}", verdict=REFUSED)
        yield connects(pid, IP, 8443)
        yield shows(pid, IP, "other.test", 8443, REFUSED, cookie=1 + number)
        yield connects(pid, IP)
        yield looked_into(pid, f"h{number % 100:02}.example.test" if number % 3 else "else.test")
        yield opaque(pid, f"a reason, {number % 7}")
        yield writes(pid, IP, hits=carrying("TOKEN"), carriage=Carriage.FAIL, cookie=number)
        yield found("TOKEN", pid=pid)
        yield exits(pid)


def blocks_held(engine: Engine, events: Iterator[Event]) -> int:
    """Blocks of memory in use after some more events."""
    for event in events:
        engine.feed(event)
    gc.collect()
    return sys.getallocatedblocks()


def test_memory_does_not_grow_with_time() -> None:
    engine = guarded(allow("**.example.test"), mode=Mode.BLOCK).engine
    engine.feed(started(Mode.BLOCK))
    engine.feed(fork(SHELL, WORKER))
    full = blocks_held(engine, visits(0, FULL))
    later = blocks_held(engine, visits(FULL, MORE))
    assert later - full < MORE / 10, f"{(later - full) / MORE:.1f} blocks a process"
