# SPDX-License-Identifier: MIT
"""From a request to a guard in force: plan, sensor, and how its secrets are shown."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from leakstop.act import changes, last_step
from leakstop.act.cgroup import cgroup2_mount
from leakstop.daemon import sensors
from leakstop.daemon.request import ArmRequest
from leakstop.errors import UnsupportedError
from leakstop.model.flow import Flow, Transport
from leakstop.model.report import SecretView
from leakstop.model.verdict import Reason
from leakstop.policy.canonical import from_canonical
from leakstop.policy.rules import IPNetwork, Policy
from leakstop.policy.tables import Tables, compile_tables
from leakstop.secrets import formats
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of
from leakstop.sensor import locals as local_networks
from leakstop.sensor import resolvers
from leakstop.sensor.inheritance import Inheritance
from leakstop.sensor.plan import GuardPlan


@dataclasses.dataclass(frozen=True, slots=True)
class Guard:
    """A guard that is in force."""

    request: ArmRequest
    sensor: sensors.Sensor
    policy: Policy
    """In force: in audit mode where the machine can only observe."""
    views: tuple[SecretView, ...]
    """The secrets as reports show them."""
    local: tuple[IPNetwork, ...] = ()
    """Networks of this machine."""
    note: str = ""
    """Why coverage is reduced, as a whole sentence."""
    undo: Callable[[], tuple[str, ...]] = lambda: ()
    """Takes back what was changed on the machine, once the guard has ended; returns what could not
    be, in whole sentences."""


def raise_guard(
    request: ArmRequest,
    run_dir: Path,
    *,
    keep: Callable[[Sequence[Secret]], None] = lambda _: None,
    inherited: Inheritance | None = None,
    supervisor: int = 0,
) -> Guard:
    """Compile ``request`` and start the best sensor for it, or go on with a guard in force.

    ``keep`` is told of the secrets that are found. ``supervisor``: the process that starts this
    one again.

    Raises:
        PolicyError: the policy does not fit the kernel's tables.
        UnsupportedError: this machine cannot do what the policy needs.
    """
    plan, base = build_plan(request, run_dir), run_dir.parent
    plan = dataclasses.replace(
        plan,
        keep=keep,
        inherited=inherited,
        covered=_cover(request, base),
        supervisor_pid=supervisor,
    )
    choice = sensors.choose(plan)
    try:
        changes.lock_down(base, choice.policy.lockdown, request.uid)
    except BaseException:
        if inherited is None:  # else what is in force stays so
            choice.sensor.close()
        raise
    if request.scope != "command" and inherited is None:
        # An answer from a cache would give a program an address that was never learned.
        resolvers.flush_caches()
    views = secret_views(request.secrets, choice.policy)
    undo = partial(changes.undo, base)
    return Guard(request, choice.sensor, choice.policy, views, plan.local, choice.note, undo)


def _cover(request: ArmRequest, base: Path) -> tuple[Path, ...]:
    """Keep what the job's last step runs from the job, where root and the job are two users."""
    if not (request.hook and request.uid) or os.geteuid() != 0:
        return ()
    return changes.cover(base, last_step.of_hook(Path(request.hook), Path(request.node)))


def build_plan(request: ArmRequest, run_dir: Path) -> GuardPlan:
    """Compile everything that a sensor needs."""
    policy = from_canonical(request.policy)
    local = local_networks.read_networks()
    tables = compile_tables(policy, local=local)
    return GuardPlan(
        policy=policy,
        tables=tables,
        secrets=request.secrets,
        needles=table_of(request.secrets),
        scope=request.scope,
        cgroup=_cgroup(request),
        run_dir=run_dir,
        resolvers=_believed(tables),
        local=local,
        uplinks=request.uplinks,
        variables=request.variables,
        worker_pid=request.worker_pid,
        root_pid=request.root_pid,
    )


def _believed(tables: Tables) -> tuple[str, ...]:
    """The machine's resolvers and the policy's, but for those that a rule denies."""
    return tuple(
        address
        for address in dict.fromkeys((*resolvers.read_trusted(), *tables.resolvers))
        if tables.decide(Flow(Transport.UDP, 53, address))[1] is not Reason.DENY_RULE
    )


def secret_views(secrets: tuple[Secret, ...], policy: Policy) -> tuple[SecretView, ...]:
    """Show ``secrets`` without their values, with the homes that ``policy`` gives them."""
    views = []
    for secret in secrets:
        home = policy.homes.get(secret.name)
        text, placed_by = (home.text, home.placed_by) if home else ((), "")
        views.append(formats.view(secret, text, placed_by))
    return tuple(views)


def _cgroup(request: ArmRequest) -> Path | None:
    if request.cgroup:
        return Path(request.cgroup)
    if request.scope == "command":
        return None  # no cgroup could be made; the whole machine was not asked for
    try:
        return cgroup2_mount()
    except UnsupportedError:
        return None  # the kernel sensor says so, in its own words


__all__ = ["Guard", "build_plan", "raise_guard", "secret_views"]
