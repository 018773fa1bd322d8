# SPDX-License-Identifier: MIT
"""A guard whose machine cannot be locked down: a new one goes, one in force stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakstop.act import changes
from leakstop.daemon import sensors
from leakstop.daemon.assemble import raise_guard
from leakstop.daemon.sensors import Choice
from leakstop.errors import LeakstopError
from leakstop.sensor.inheritance import Inheritance
from unit.daemon.scene import FakeSensor, make_policy, request


@pytest.mark.parametrize("error", [LeakstopError("lockdown failed"), KeyError("no such group")])
@pytest.mark.parametrize("inherited", [None, Inheritance({})])
def test_where_the_machine_cannot_be_locked_down(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inherited: Inheritance | None,
    error: Exception,
) -> None:
    sensor = FakeSensor()

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(sensors, "choose", lambda _: Choice(sensor, make_policy()))
    monkeypatch.setattr(changes, "lock_down", fail)
    with pytest.raises(type(error)):
        raise_guard(request(), tmp_path / "guard-1", inherited=inherited)
    assert sensor.closed == (inherited is None)
    if not sensor.closed:
        sensor.close()
