# SPDX-License-Identifier: MIT
"""Times are UTC wherever the machine stands."""

from __future__ import annotations

import time

import pytest

from leakstop.report import times
from unit.report import cases, scene


def test_utc_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo-9")
    time.tzset()
    try:
        assert times.iso(scene.START_S) == "2026-11-21T02:00:00.000Z"
        assert times.iso_of(cases.CLEAN, cases.at(11.15)) == "2026-11-21T02:11:09.000Z"
        assert times.clock_of(cases.CLEAN, cases.at(11.15)) == "02:11:09 UTC"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
