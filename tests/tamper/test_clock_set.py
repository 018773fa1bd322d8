# SPDX-License-Identifier: MIT
"""Who sets the clock is told. Here it is set by nothing: this machine keeps its time."""

from __future__ import annotations

import pytest

from leakstop.model.tamper import Trick
from tamper.scene import Scene

pytestmark = pytest.mark.root

CODE = """
import ctypes
timex = (ctypes.c_uint64 * 32)({modes})
print(ctypes.CDLL(None).clock_adjtime(0, timex))
"""
READ, SET_OFFSET = 0, 0x0100


def test_a_step_of_the_clock(audit: Scene) -> None:
    assert int(audit.python(CODE.format(modes=SET_OFFSET)).stdout) >= 0
    [told] = audit.tampers(Trick.CLOCK)
    assert (told.what, told.route) == ("the time", "clock_adjtime")


def test_reading_it_is_none(audit: Scene) -> None:
    assert int(audit.python(CODE.format(modes=READ)).stdout) >= 0
    assert audit.run("date").returncode == 0
    assert audit.tampers(Trick.CLOCK) == []
