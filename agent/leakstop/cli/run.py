# SPDX-License-Identifier: MIT
"""``leakstop run -- CMD``: guard one command and everything it starts.

This process is the client. It never parses a policy (a child that is no longer root does)
and never guards (the agent does): it puts the command into a cgroup of its own, waits, and
says what the agent, or failing that the journal, has to say.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from leakstop.act.cgroup import CommandCgroup, cgroup2_mount, own_cgroup
from leakstop.cli import canaries, options, prepare
from leakstop.cli.canaries import Planted
from leakstop.cli.confined import invoking_user
from leakstop.cli.reportdir import JOURNAL, ReportDir
from leakstop.cli.session import AgentProcess
from leakstop.cli.spawn import Command
from leakstop.daemon.lifecycle import RunDir, base_dir, fresh_name, sweep_dead
from leakstop.daemon.request import ArmRequest
from leakstop.errors import ExitCode, LeakstopError, UnsupportedError, UsageError
from leakstop.model.verdict import Mode

if TYPE_CHECKING:
    # At run time only while the agent is busy: it is not needed before the guard is in force.
    from leakstop.cli.vocabulary import Asking


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.usage = "leakstop run [options] -- CMD [ARG ...]"
    options.add_policy_options(parser)
    options.add_guard_options(parser)
    options.add_canary_option(parser)
    options.add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Guard ``args.tail``; return its exit code, or why the guard failed the run."""
    if not args.tail:
        raise UsageError("no command to guard", fix="leakstop run [options] -- CMD [ARG ...]")
    wish = options.wish(args)
    user = invoking_user()
    report_dir = ReportDir(Path(args.report_dir), user) if args.report_dir else None
    sweep_dead()
    with contextlib.ExitStack() as cleanup:
        run_dir = RunDir(base_dir() / fresh_name())
        run_dir.claim()
        cleanup.callback(run_dir.remove)
        journal = cleanup.enter_context(_journal(run_dir, report_dir))
        cgroup = _cgroup(run_dir, cleanup)
        # Forked first: the agent imports what it needs while a child reads the policy.
        agent = AgentProcess.start(run_dir, journal)
        cleanup.callback(agent.stop)
        planted = Planted()
        if args.canaries:
            planted = canaries.plant(user, os.environ)
            cleanup.callback(canaries.remove, user, planted.to_text())
            wish = dataclasses.replace(wish, secrets=(*wish.secrets, *planted.secrets))
        prepared = prepare.prepare(wish, one_command=True)
        for warning in prepared.warnings:
            print(warning, file=sys.stderr)
        asking = _arm(
            agent,
            ArmRequest(
                policy=prepared.policy,
                secrets=wish.secrets,
                scope="command",
                cgroup=str(cgroup.path) if cgroup else "",
                root_pid=os.getpid(),
                uplinks=options.uplinks(args),
                uid=user.uid,
            ),
            cleanup,
        )
        blocking = agent.mode is Mode.BLOCK
        asking.release()
        environment = user.environment() | dict(planted.environment or {})
        command = Command.start(
            args.tail, user, environment, lambda: _confine(cgroup, hardened=blocking)
        )
        code = command.wait(agent.look)
        _end_leftovers(cgroup)
        report = agent.finish()
        from leakstop.act import harden
        from leakstop.cli import outcome, vocabulary
        from leakstop.daemon import fold

        if blocking:
            report = fold.with_notes(report, (harden.NOTE,))

        words = vocabulary.read(asking.answer() if vocabulary.is_needed(report) else "")
        return outcome.conclude(report, args.summary, report_dir, journal, code, vocabulary=words)


def _journal(run_dir: RunDir, report_dir: ReportDir | None) -> BinaryIO:
    """Open the journal where the user asked for it, else in the private directory."""
    try:
        if report_dir is not None:
            return report_dir.create(JOURNAL)
        return run_dir.journal.open("a+b", buffering=0)
    except OSError as error:
        raise LeakstopError(
            f"the journal cannot be opened: {error.strerror}",
            fix="make room, or name another directory with `--report-dir`",
        ) from error


def _cgroup(run_dir: RunDir, cleanup: contextlib.ExitStack) -> CommandCgroup | None:
    """Make the command's cgroup; ``None`` where only the portable sensor can watch."""
    try:
        name = f"leakstop-{run_dir.path.name}"
        cgroup = CommandCgroup.create(own_cgroup(cgroup2_mount()), name)
    except UnsupportedError:
        return None
    run_dir.cgroup.symlink_to(cgroup.path)
    cleanup.callback(cgroup.remove)
    cleanup.callback(cgroup.kill)
    return cgroup


def _arm(agent: AgentProcess, request: ArmRequest, cleanup: contextlib.ExitStack) -> Asking:
    """Put the guard in force; who comes back asks the package managers, once released."""
    try:
        return agent.arm(request, meanwhile=lambda: _prepare_the_end(request, cleanup))
    except LeakstopError as error:
        if error.exit_code is not ExitCode.UNSUPPORTED or os.geteuid() == 0:
            raise
        raise UnsupportedError(
            "only root can put a guard into the kernel",
            why=error.what,
            fix="`sudo leakstop run ...` (the command itself still runs as you), "
            "or only observe: `--mode audit`",
        ) from error


def _confine(cgroup: CommandCgroup | None, *, hardened: bool) -> None:
    """Put the calling process, which is to become the command, where it is guarded.

    Only observed, it is not hardened: audit mode changes nothing for what nobody named.
    """
    if cgroup is not None:
        cgroup.enter()
    if hardened:
        from leakstop.act import harden

        harden.harden()


def _prepare_the_end(request: ArmRequest, cleanup: contextlib.ExitStack) -> Asking:
    """Import what is used from the command on: it may write to where we are loaded from."""
    from leakstop.act import harden
    from leakstop.cli import outcome, vocabulary
    from leakstop.daemon import fold
    from leakstop.policy.canonical import from_canonical

    _ = (harden, outcome, fold)
    asking = vocabulary.Asking.about(from_canonical(request.policy))
    cleanup.callback(asking.close)
    return asking


def _end_leftovers(cgroup: CommandCgroup | None) -> None:
    """Kill what outlives the command: nothing may go on once the guard is taken down."""
    leftover = cgroup.kill() if cgroup else 0
    if leftover:
        noun = "process that was" if leftover == 1 else "processes that were"
        print(f"leakstop: killed {leftover} {noun} still running in the end", file=sys.stderr)
