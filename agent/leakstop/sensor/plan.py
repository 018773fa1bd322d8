# SPDX-License-Identifier: MIT
"""What a sensor is asked to guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leakstop.policy.rules import IPNetwork, Policy
from leakstop.policy.tables import Tables
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import NeedleTable
from leakstop.sensor.inheritance import Inheritance


@dataclass(frozen=True, slots=True)
class GuardPlan:
    """Everything a sensor needs, complete and checked; nothing is looked up later."""

    policy: Policy
    tables: Tables
    secrets: tuple[Secret, ...]
    """In the order of ``needles.owners``' secret indexes."""
    needles: NeedleTable
    scope: str
    """``command``, ``machine`` or ``cgroup``, for the report."""
    cgroup: Path | None
    """cgroup v2 directory to guard; ``None`` for the portable sensor."""
    run_dir: Path
    """Private directory of this agent; BPF links are pinned below it."""
    resolvers: tuple[str, ...]
    """Addresses whose DNS answers are believed."""
    local: tuple[IPNetwork, ...] = ()
    """Networks of this machine: not egress."""
    uplinks: bool = False
    """Put programs on the network interfaces of this process's namespace."""
    variables: str = ""
    """The runner's file for variables of later steps, of one step; empty without a runner."""
    covered: tuple[Path, ...] = ()
    """Mount points that keep the action's own files from the job."""
    worker_pid: int = 0
    """The runner's worker, whose direct children are steps; 0 without one."""
    supervisor_pid: int = 0
    """The process that starts the agent again; 0 without one."""
    root_pid: int = 0
    """Portable sensor: only descendants of this process are watched; 0 for all."""
    inherited: Inheritance | None = None
    """A guard in force, to go on with instead of making another one."""
    keep: Callable[[Sequence[Secret]], None] = lambda _: None
    """Told of secrets that are found, for whoever inherits this guard."""

    @property
    def judges_uplinks(self) -> bool:
        """For one command others' packets are none of our business."""
        return self.uplinks and self.scope == "machine"
