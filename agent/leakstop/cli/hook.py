# SPDX-License-Identifier: MIT
"""``leakstop hook PHASE``: the phases of the action, as agent/hook/hook.js calls them.

``pre`` runs before every other action of the job and does what it can: where it is not told
the inputs (inside of somebody else's action), it arms "observe and hold". ``main`` is the
judge: it sees the inputs for sure, brings the policy, and fails the job if something is wrong
with it. ``post`` (cli/epilogue.py) asks for the report.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from leakstop.cli import canaries, dependencies, elevate, epilogue, prepare, settings
from leakstop.cli.confined import invoking_user
from leakstop.cli.elevate import Place
from leakstop.cli.kept import Kept
from leakstop.cli.runner import Caller, Runner, Worker, announce, mask, say
from leakstop.cli.settings import Settings
from leakstop.cli.vocabulary import Asking
from leakstop.daemon.client import AgentClient
from leakstop.daemon.request import ArmRequest
from leakstop.daemon.sensors import falls_back
from leakstop.errors import (
    ExitCode,
    LeakstopError,
    PolicyError,
    UnsupportedError,
    UsageError,
    trace,
)
from leakstop.policy.canonical import from_canonical, to_canonical, with_digest
from leakstop.policy.rules import Policy
from leakstop.report.directory import REPORT

Loader = Callable[[str], str]
MARK = "LEAKSTOP_RUN"
"""A variable that tells later steps of the job that it is guarded, and where the agent lives."""
_STATES = {
    "audit": "Watched (audit mode): nothing is blocked but a secret on its way out",
    "block": "Protected (block mode): what no policy names is denied",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("phase", choices=list(_PHASES))


def run(args: argparse.Namespace) -> int:
    """Run one phase; what goes wrong becomes an annotation, whatever it is."""
    try:
        return _PHASES[args.phase](Runner(os.environ))
    except LeakstopError as error:
        announce(error)
        return int(error.exit_code)
    except Exception as error:  # noqa: BLE001 - without an annotation nobody would find it
        print(trace(error), file=sys.stderr)
        fault = LeakstopError(
            f"{type(error).__name__} in Leakstop itself",
            why="this is a fault of Leakstop, please report it",
            fix="the log of this step says where",
        )
        announce(fault)
        return int(fault.exit_code)


def pre(runner: Runner) -> int:
    """Be there before the other actions. What fails here is left to ``main`` to judge."""
    if _is_guarded(runner):
        return 0
    worker = Worker.of_this_step()
    key = secrets.token_hex(32)
    mask(key)
    request = _observe_and_hold(runner, worker)
    kept = Kept(worker=worker.to_text(), key=key)
    with contextlib.suppress(LeakstopError):
        inputs = settings.read_inputs(runner.environ)
        wanted, planted = _plant(runner, settings.read_settings(inputs, runner.environ))
        kept = dataclasses.replace(kept, planted=planted)
        if planted:
            kept.save(runner)  # whatever fails from here on, somebody knows what to remove
        request = _request(runner, worker, wanted, inputs["token"])
        kept = dataclasses.replace(kept, inputs=settings.fingerprint(inputs, key))
    with contextlib.suppress(LeakstopError):
        _start(runner, kept, request).save(runner)
    return 0


def main(runner: Runner) -> int:
    """Put in force what the step asks for, and say what is watched."""
    inputs = settings.read_inputs(runner.environ)
    wanted = settings.read_settings(inputs, runner.environ)
    kept = Kept.read(runner)
    if not kept.run and _is_guarded(runner):
        raise UsageError(
            "this job is guarded already, by an earlier use of this action",
            why="each guard would take what the other one does for an attack",
            fix="remove one of them; a policy that both need goes into the one that stays",
        )
    worker = Worker.kept(kept.worker)
    if not kept.agent_is_alive:
        kept = Kept(worker=worker.to_text(), key=secrets.token_hex(32), planted=kept.planted)
        mask(kept.key)
    mark = settings.fingerprint(inputs, kept.key)
    if kept.inputs != mark:
        canaries.remove(invoking_user(), kept.planted)
        wanted, planted = _plant(runner, wanted)
        kept = dataclasses.replace(kept, planted=planted)
        if planted:
            kept.save(runner)
        request = _request(runner, worker, wanted, inputs["token"])
        kept = _arm(kept, request) if kept.run else _start(runner, kept, request)
    reports = tempfile.mkdtemp(prefix="leakstop-", dir=runner["RUNNER_TEMP"] or None)
    kept = dataclasses.replace(kept, inputs=mark, detail=wanted.detail, reports=reports)
    kept.save(runner)
    runner.set_outputs({**epilogue.PENDING, "report": str(Path(reports, REPORT))})
    _say_what_is_watched(kept, wanted)
    return 0


def post(runner: Runner) -> int:
    """Report."""
    kept = Kept.read(runner)
    try:
        return epilogue.post(runner, kept)
    finally:
        canaries.remove(invoking_user(), kept.planted)


def _is_guarded(runner: Runner) -> bool:
    """Whether another use of the action has an agent in this job."""
    return Kept(run=runner.environ.get(MARK, "")).agent_is_alive


def _plant(runner: Runner, wanted: Settings) -> tuple[Settings, str]:
    """Plant the canaries that are asked for; with them watched, and what to remove in the end."""
    if not wanted.canaries:
        return wanted, ""
    planted = canaries.plant(invoking_user(), runner.environ)
    for secret in planted.secrets:
        mask(secret.value.decode())
    runner.set_variables(planted.environment or {})
    wish = dataclasses.replace(wanted.wish, secrets=(*wanted.wish.secrets, *planted.secrets))
    return dataclasses.replace(wanted, wish=wish), planted.to_text()


def _observe_and_hold(runner: Runner, worker: Worker) -> ArmRequest:
    """A guard that sees everything and stops nothing: all that can be done without inputs."""
    caller = Caller.of_this_step()
    return ArmRequest(
        policy=to_canonical(with_digest(Policy())),
        job=runner.job(),
        scope="cgroup" if worker.cgroup else "machine",
        cgroup=worker.cgroup,
        # Whoever guards one cgroup for a try leaves the machine's network alone.
        uplinks=not worker.cgroup,
        worker_pid=worker.pid,
        uid=os.getuid(),
        variables=runner["GITHUB_ENV"],
        hook=caller.scripts,
        node=caller.node,
    )


def _request(runner: Runner, worker: Worker, wanted: Settings, token: str) -> ArmRequest:
    """The guard that the step asks for.

    Raises:
        LeakstopError: its policy cannot be read or understood.
    """
    if worker.cgroup and not Path(worker.cgroup, "cgroup.procs").exists():
        raise UnsupportedError("LEAKSTOP_CGROUP is no cgroup v2 directory", where=worker.cgroup)
    dependencies.provide("yaml")
    prepared = prepare.prepare(wanted.wish, loader=_loader(runner, worker, wanted, token))
    say(line for warning in prepared.warnings for line in warning.splitlines())
    return dataclasses.replace(
        _observe_and_hold(runner, worker), policy=prepared.policy, secrets=wanted.wish.secrets
    )


def _loader(runner: Runner, worker: Worker, wanted: Settings, token: str) -> Loader:
    """What reads policy files: the API, but for files of the machine, and under act."""
    files = [source.name for source in wanted.wish.policies if source.text is None]
    repository: Loader = prepare.read
    if worker.is_act:
        repository = partial(_read_below, worker.directory)
    elif not all(map(_is_absolute, files)):
        # Here, because it takes longer to import than the rest, and not in the process that
        # reads: that one may no longer be allowed to.
        from leakstop.cli.contents import Contents

        repository = Contents.of_workflow(runner.environ, token)
    machine = partial(_read_of_machine, runner["GITHUB_WORKSPACE"])
    return lambda name: machine(name) if _is_absolute(name) else repository(name)


def _is_absolute(name: str) -> bool:
    return name.startswith("/")


def _read_below(directory: Path, name: str) -> str:
    return prepare.read(str(directory / name))


def _read_of_machine(workspace: str, name: str) -> str:
    """Read a file of the machine, or of the action that calls us; never one of the workspace.

    Raises:
        PolicyError: it lies in the workspace.
    """
    if not workspace or Path(name).resolve().is_relative_to(Path(workspace).resolve()):
        raise PolicyError(
            f"`{name}` lies in the workspace, which the job can write",
            fix="a path without a leading `/` is read at the commit of the workflow",
            where="input `policy`",
        )
    return prepare.read(name)


def _start(runner: Runner, kept: Kept, request: ArmRequest) -> Kept:
    """Start an agent, with ``request`` in force, and ask the package managers beside it. Later
    steps are told that it is there.

    Raises:
        LeakstopError: it could not be started or armed.
    """
    with contextlib.closing(Asking.about(from_canonical(request.policy))) as asking:
        asking.release()
        place = _launch(dataclasses.replace(request, finish_key=kept.key))
        agent = _teach(place, asking.answer(), kept.key)
    runner.set_variables({MARK: str(place.run_dir)})
    return dataclasses.replace(
        kept, run=str(place.run_dir), code=str(place.code), python=sys.executable, agent=agent
    )


def _launch(request: ArmRequest) -> Place:
    try:
        return _try(request)
    except LeakstopError as error:
        # Not root, or in a container: the portable sensor may do, and it needs one package.
        unsupported = error.exit_code is ExitCode.UNSUPPORTED
        if not unsupported or dependencies.has("psutil") or not _may_only_observe(request):
            raise
    dependencies.provide("psutil")
    return _try(request)


def _try(request: ArmRequest) -> Place:
    """Start an agent; nothing is left of one that could not be started."""
    place = elevate.prepare_place()
    try:
        elevate.start_agent(place, request)
    except LeakstopError:
        elevate.clean_up(place, sweep=True)
        raise
    return place


def _teach(place: Place, words: str, key: str) -> str:
    """Let the agent keep ``words``. Without them the guard is as good, only its report is not.

    Returns who it is.
    """
    whom = ""
    with (
        contextlib.suppress(LeakstopError),
        contextlib.closing(AgentClient.connect(place.run_dir)) as client,
    ):
        whom = client.whom
        if words:
            client.teach(words, key=key)
    return whom


def _may_only_observe(request: ArmRequest) -> bool:
    return falls_back(from_canonical(request.policy))


def _arm(kept: Kept, request: ArmRequest) -> Kept:
    client = AgentClient.connect(Path(kept.run), whom=kept.agent)
    with contextlib.closing(client):
        client.arm(dataclasses.replace(request, finish_key=kept.key), key=kept.key)
    return kept


def _say_what_is_watched(kept: Kept, wanted: Settings) -> None:
    client = AgentClient.connect(Path(kept.run), whom=kept.agent)
    with contextlib.closing(client):
        status = client.status()
    state = f"Partly watched: {status['note']}" if status["note"] else f"{_STATES[status['mode']]}."
    names = [secret.name for secret in wanted.wish.secrets]
    known = f"{len(names)} known: {', '.join(names)}" if names else "none known"
    say(
        (
            f"{state} Policy {status['digest'][:19]}.",
            f"Secrets watched: {known}.",
            "The report comes at the end of the job, in this action's post step and the summary.",
        )
    )


_PHASES: dict[str, Callable[[Runner], int]] = {"pre": pre, "main": main, "post": post}

__all__ = ["configure", "main", "post", "pre", "run"]
