# SPDX-License-Identifier: MIT
"""The switch by which root takes the denials out of the kernel is put back, and that is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from leakstop.model.coverage import Gap
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor.in_force import InForce


def watch(switch: Path, *, denies: bool = True) -> InForce:
    whole: Any = SimpleNamespace(
        denies=denies, absent=[], restore=lambda: (), restore_pins=lambda: False
    )
    return InForce(whole, since_ns=7, switch=switch)


def test_it_is_switched_on_again_and_told_with_the_time(tmp_path: Path) -> None:
    switch = tmp_path / "ftrace_enabled"
    switch.write_text("0\n")
    force = watch(switch)
    found, gap = force.follow()
    assert isinstance(found, Tamper) and isinstance(gap, Gap)
    assert (found.trick, found.pid, found.mended) == (Trick.BPF, 0, True)
    assert "kernel.ftrace_enabled" in found.what
    assert (gap.since_ns, gap.undecided) == (7, False)
    assert switch.read_text() == "1"
    force.look()
    assert force.follow() == []


def test_what_cannot_be_put_right_is_told_and_looked_at_again(tmp_path: Path) -> None:
    class Stuck(type(tmp_path)):  # type: ignore[misc]
        def write_text(self, *_: Any) -> int:
            raise OSError

    switch = Stuck(tmp_path / "ftrace_enabled")
    switch.write_bytes(b"0")
    force = watch(switch)
    assert [event.mended for event in force.follow() if isinstance(event, Tamper)] == [False]
    assert force.follow(), "at once"


@pytest.mark.parametrize(("text", "denies"), [("1", True), ("0", False), (None, True)])
def test_where_nothing_stands_on_it_it_is_nobodys_business(
    tmp_path: Path, text: str | None, denies: bool
) -> None:
    switch = tmp_path / "ftrace_enabled"
    if text is not None:
        switch.write_text(text)
    assert watch(switch, denies=denies).follow() == []
    assert text is None or switch.read_text() == text
