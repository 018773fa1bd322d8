# SPDX-License-Identifier: MIT
"""Which sensor watches: the kernel's where it loads, else the portable one, said aloud."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from leakstop.act.cgroup import cgroup2_mount
from leakstop.errors import UnsupportedError
from leakstop.model.event import Event
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.secrets.inventory import Secret
from leakstop.sensor.machine import Machine
from leakstop.sensor.plan import GuardPlan


class Sensor(Protocol):
    """Where events come from."""

    def start(self) -> None:
        """Begin to watch, and in block mode to deny."""

    def fileno(self) -> int:
        """Descriptor that is readable when events wait; -1 without one."""

    @property
    def secrets(self) -> Iterable[Secret]:
        """What it looks for, with what it has found."""

    def poll(self, timeout_s: float) -> Iterator[Event]:
        """Events that wait now, or that come within ``timeout_s``."""

    def look(self) -> None:
        """Find out with the next ``poll`` whether the guard still is what was put in force."""

    def close(self) -> None:
        """Stop watching and take everything down."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A sensor that was started."""

    sensor: Sensor
    policy: Policy
    """In force: in audit mode where the machine can only observe."""
    note: str = ""
    """Why coverage is reduced, as a whole sentence; empty with the kernel sensor."""


def falls_back(policy: Policy) -> bool:
    """Whether observing is enough where the kernel sensor does not load (``on-unsupported``)."""
    if policy.on_unsupported:
        return policy.on_unsupported == "audit"
    return policy.mode is Mode.AUDIT


def choose(plan: GuardPlan) -> Choice:
    """Start the best sensor that this machine can run.

    Raises:
        UnsupportedError: the kernel sensor does not load, and observing is not enough.
    """
    try:
        return Choice(_kernel(plan), plan.policy)
    except UnsupportedError as error:
        if plan.inherited is not None and plan.inherited.pinned:
            raise  # what is in force stays so; to observe beside it would explain nothing
        return _portable(plan, error)


def _kernel(plan: GuardPlan) -> Sensor:
    from leakstop.sensor.kernel import KernelSensor

    if plan.cgroup is None and os.geteuid() == 0:
        raise _without_cgroup()
    sensor = KernelSensor(plan)
    sensor.start()
    return sensor


def _without_cgroup() -> UnsupportedError:
    """Say what stands in the way of a cgroup; whoever tried to make one only saw that it failed."""
    machine = Machine.probe()
    if "CAP_SYS_ADMIN" not in machine.capabilities:
        where = f" ({machine.container})" if machine.container else ""
        return UnsupportedError(
            "the machine's kernel is out of reach",
            why=f"root lacks CAP_SYS_ADMIN here, as in a container without privileges{where}",
            fix="run Leakstop on the host (docs/coverage.md says how)",
        )
    try:
        return UnsupportedError(
            "no cgroup could be made for the command",
            why="the cgroup v2 hierarchy cannot be written, though this is root",
            fix="mount it writable",
            where=str(cgroup2_mount()),
        )
    except UnsupportedError as error:
        return error


def _portable(plan: GuardPlan, reason: UnsupportedError) -> Choice:
    if not falls_back(plan.policy):
        observe = "only observe: `mode: audit`, or `on-unsupported: audit`"
        raise UnsupportedError(
            reason.what,
            why=reason.why or "only the kernel sensor can deny, and it does not load here",
            fix=f"{reason.fix}; or {observe}" if reason.fix else observe,
            where=reason.where,
        ) from reason
    # psutil and scapy cost seconds of import: only here, where they are needed.
    try:
        from leakstop.sensor.portable import PortableSensor
    except ImportError as error:
        raise UnsupportedError(
            f"{reason.what}, and the portable sensor is not installed",
            why=str(error),
            fix="python3 -m pip install 'leakstop[portable]'",
        ) from error
    policy = dataclasses.replace(plan.policy, mode=Mode.AUDIT)
    sensor: Sensor = PortableSensor(dataclasses.replace(plan, policy=policy))
    sensor.start()
    note = f"Reduced coverage: the kernel sensor could not be used ({reason.what})."
    return Choice(sensor, policy, note)


__all__ = ["Choice", "Sensor", "choose", "falls_back"]
