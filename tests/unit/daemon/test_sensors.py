# SPDX-License-Identifier: MIT
"""Which sensor watches, and when observing is not enough."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leakstop.daemon import sensors
from leakstop.errors import ExitCode, UnsupportedError
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.sensor.plan import GuardPlan
from plans import plan_of


class Portable:
    """Stands for the portable sensor."""

    def __init__(self, plan: GuardPlan) -> None:
        self.plan = plan
        self.started = False

    def start(self) -> None:
        self.started = True


class Kernel(Portable):
    """Stands for the kernel sensor."""


class Refusing(Kernel):
    """A kernel sensor on a machine without BTF."""

    def start(self) -> None:
        raise UnsupportedError("no BTF", why="an old kernel", fix="another one", where="/sys")


def plan(policy: Policy, cgroup: Path | None = Path("/x")) -> GuardPlan:
    return plan_of(policy, cgroup=cgroup)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say which kernel sensor this machine has."""

    def have(kernel: type[Kernel], portable: bool = True) -> None:
        one, other = ModuleType("leakstop.sensor.kernel"), ModuleType("leakstop.sensor.portable")
        one.KernelSensor = kernel  # type: ignore[attr-defined]
        if portable:
            other.PortableSensor = Portable  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "leakstop.sensor.kernel", one)
        monkeypatch.setitem(sys.modules, "leakstop.sensor.portable", other)

    return have


@pytest.mark.parametrize("mode", list(Mode))
def test_the_kernel_sensor_is_first_choice(machine: Any, mode: Mode) -> None:
    machine(Kernel)
    choice = sensors.choose(plan(Policy(mode=mode)))
    assert type(choice.sensor) is Kernel
    assert choice.policy.mode is mode
    assert choice.note == ""


@pytest.mark.parametrize(
    ("mode", "on_unsupported", "observes"),
    [
        (Mode.AUDIT, "", True),
        (Mode.AUDIT, "audit", True),
        (Mode.AUDIT, "fail", False),
        (Mode.BLOCK, "", False),
        (Mode.BLOCK, "fail", False),
        (Mode.BLOCK, "audit", True),
    ],
)
def test_who_may_fall_back(machine: Any, mode: Mode, on_unsupported: str, observes: bool) -> None:
    machine(Refusing)
    wanted = plan(Policy(mode=mode, on_unsupported=on_unsupported))
    if not observes:
        with pytest.raises(UnsupportedError, match="no BTF") as caught:
            sensors.choose(wanted)
        assert caught.value.exit_code is ExitCode.UNSUPPORTED
        assert "another one; or only observe" in caught.value.fix
        return
    choice = sensors.choose(wanted)
    assert isinstance(choice.sensor, Portable)
    assert choice.sensor.started
    assert choice.policy.mode is choice.sensor.plan.policy.mode is Mode.AUDIT
    assert "no BTF" in choice.note


def test_without_a_cgroup_root_cannot_guard(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(Kernel)
    monkeypatch.setattr(sensors.os, "geteuid", lambda: 0)
    with pytest.raises(UnsupportedError, match="no cgroup"):
        sensors.choose(plan(Policy(mode=Mode.BLOCK), cgroup=None))


def test_a_portable_sensor_that_is_not_installed_is_said(machine: Any) -> None:
    machine(Refusing, portable=False)
    with pytest.raises(UnsupportedError, match="not installed") as caught:
        sensors.choose(plan(Policy()))
    assert "pip install" in caught.value.fix
