# SPDX-License-Identifier: MIT
"""What an image has mapped is its own, also when its start is announced long after."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from leakstop.model.event import Exec, Opaque
from leakstop.sensor.tls.follower import TlsFollower
from leakstop.sensor.tls.functions import UNKNOWN
from leakstop.sensor.tls.gate import Gate
from leakstop.sensor.tls.mappings import Mapped
from story import execs, exits, shows

GONE = (1 << 22) + 1
"""No process has this number: there are 2^22 at most (proc(5))."""
MAPPED_NS = 1_000_000_000
PROGRAM = "/opt/client"
Follow = Callable[[Exec], list[object]]


class Table:
    def update(self, key: bytes, value: bytes) -> None:
        pass


@pytest.fixture
def follow(tmp_path: Path) -> Follow:
    """A program's start, its hello, which is heard when it has ended, and its end."""
    follower = TlsFollower(lambda _places, _path: (), tmp_path, Gate(Table(), Table()), {})
    follower._watched = True
    mapped = Mapped(MAPPED_NS, GONE, (8, 1, 4711), 0x1000, 0x2000, os.fsencode(PROGRAM))
    follower._coverage._mapped[GONE] = mapped, MAPPED_NS

    def see(start: Exec) -> list[object]:
        hello = shows(GONE, "203.0.113.9", "home.test", ts_ns=start.ts_ns + 1)
        return [said for event in (start, hello, exits(GONE)) for said in follower.see(event)]

    return see


@pytest.mark.parametrize("later_ns", [1_000, 50_000_000])
def test_the_program_itself_is_mapped_before_it_is_announced(follow: Follow, later_ns: int) -> None:
    assert follow(execs(GONE, PROGRAM, program=PROGRAM, ts_ns=MAPPED_NS + later_ns)) == []


def test_what_the_image_before_had_mapped_is_gone(follow: Follow) -> None:
    start = execs(GONE, "/opt/other", program="/opt/other", ts_ns=MAPPED_NS + 50_000_000)
    assert follow(start) == [Opaque(start.ts_ns + 1, GONE, UNKNOWN)]
