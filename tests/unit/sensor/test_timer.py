# SPDX-License-Identifier: MIT
"""The timer as a descriptor."""

from __future__ import annotations

import os
import select

import pytest

from leakstop.sensor.timer import Timer


def readable(timer, timeout_s):
    return bool(select.select([timer], [], [], timeout_s)[0])


def test_it_is_readable_again_and_again():
    timer = Timer(0.01)
    for _ in range(3):
        assert readable(timer, 5)
        timer.clear()
    timer.close()


def test_clearing_early_does_not_wait():
    timer = Timer(60)
    timer.clear()
    assert not readable(timer, 0)
    timer.close()


def test_it_is_closed_at_exec():
    timer = Timer(60)
    assert not os.get_inheritable(timer.fileno())
    timer.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(timer.fileno())
