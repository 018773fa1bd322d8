# SPDX-License-Identifier: MIT
"""``leakstop start``: guard the whole machine, or one cgroup, until ``leakstop stop``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

from leakstop.cli import options, prepare
from leakstop.cli.confined import Identity, invoking_user
from leakstop.cli.vocabulary import Asking
from leakstop.daemon import lifecycle
from leakstop.daemon.client import START_S, AgentClient
from leakstop.daemon.finisher import is_roots
from leakstop.daemon.lifecycle import RunDir, machine_dir
from leakstop.daemon.main import serve_detached
from leakstop.daemon.request import ArmRequest, request_from_json
from leakstop.errors import CoverageError, LeakstopError, UnsupportedError, UsageError
from leakstop.policy.canonical import from_canonical

_LARGEST_DOCUMENT = 64 * 1024 * 1024
_LAST_WORDS = 2000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    options.add_policy_options(parser)
    options.add_guard_options(parser)
    parser.add_argument(
        "--prepared",
        metavar="FILE",
        help="what `leakstop prepare` printed, instead of policy options; - for standard input",
    )
    parser.add_argument("--cgroup", metavar="DIR", help="guard this cgroup v2 directory only")
    parser.add_argument(
        "--worker",
        metavar="PID",
        type=int,
        default=0,
        help="end with this process; its children are steps",
    )
    parser.add_argument(
        "--finisher",
        metavar="FILE",
        default="",
        help="script of root's that may end the guard when the worker itself runs it",
    )
    add_run_dir_option(parser)


def add_run_dir_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--run-dir``, which names one guard among several."""
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        type=Path,
        default=None,
        help=f"private directory of the agent (default: {machine_dir()})",
    )


def run(args: argparse.Namespace) -> int:
    """Start the agent, and return when the guard is in force."""
    lifecycle.sweep_dead()
    request = _request(args)
    run_dir = RunDir((args.run_dir or machine_dir()).absolute())
    if run_dir.alive():
        raise UsageError(
            "another agent lives in this run directory",
            why="one agent, one run directory; guards of the same machine may overlap",
            fix="end it with `leakstop stop`, or choose another one with `--run-dir`",
            where=str(run_dir.path),
        )
    if run_dir.path.is_dir():
        run_dir.sweep()
    # What is prepared comes from somebody with an environment of his own: he asks himself.
    policy = None if args.prepared else from_canonical(request.policy)
    with contextlib.closing(Asking.about(policy)) as asking:
        asking.release()
        armed = launch(run_dir, request, invoking_user(), asking)
    note = f" {armed['note']}" if armed["note"] else ""
    print(f"leakstop: guarding the {request.scope} in {armed['mode']} mode.{note}", file=sys.stderr)
    return 0


def launch(run_dir: RunDir, request: ArmRequest, user: Identity, asking: Asking) -> dict[str, str]:
    """Start an agent that ``user`` may ask, arm it, and let it keep what ``asking`` brings.

    Raises:
        LeakstopError: it could not be started or armed; then it has ended again.
    """
    group = user.gid if os.geteuid() == 0 and user.uid != 0 else -1
    lifecycle.detach(run_dir, user.uid, group, lambda: serve_detached(run_dir, user.uid, group))
    try:
        client = AgentClient.connect(run_dir.path, patience_s=START_S)
    except CoverageError as error:
        raise LeakstopError(
            "the agent did not start", why=_last_words(run_dir) or error.what, where=error.where
        ) from error
    with contextlib.closing(client):
        armed = client.arm(request)
        if words := asking.answer():
            client.teach(words, key=request.finish_key)
        return armed


def _request(args: argparse.Namespace) -> ArmRequest:
    if args.prepared:
        if args.policy or args.allow or args.secret or args.secrets_fd is not None:
            raise UsageError("--prepared already holds a policy and secrets", fix="leave one out")
        request = request_from_json(_document(args.prepared))
    else:
        wish = options.wish(args)
        prepared = prepare.prepare(wish)
        for warning in prepared.warnings:
            print(warning, file=sys.stderr)
        uid = invoking_user().uid
        request = ArmRequest(policy=prepared.policy, secrets=wish.secrets, uid=uid)
    if args.cgroup:
        if not Path(args.cgroup, "cgroup.procs").exists():
            raise UnsupportedError("this is no cgroup v2 directory", where=args.cgroup)
        request = dataclasses.replace(request, cgroup=args.cgroup, scope="cgroup")
    if not options.uplinks(args):
        request = dataclasses.replace(request, uplinks=False)
    if args.worker:
        request = dataclasses.replace(request, worker_pid=args.worker)
    if args.finisher:
        request = dataclasses.replace(request, finisher=_finisher(args.finisher))
    return request


def _finisher(name: str) -> str:
    path = Path(name)
    if not path.is_absolute() or not is_roots(path):
        raise UsageError(
            "somebody else than root could change this script",
            why="whoever can, ends the guard",
            fix="name it by its whole path, in directories that only root can write",
            where=name,
        )
    return name


def _document(source: str) -> dict[str, object]:
    try:
        if source == "-":
            text = sys.stdin.buffer.read(_LARGEST_DOCUMENT)
        else:
            text = Path(source).read_bytes()
        document = json.loads(text)
    except (OSError, ValueError) as error:
        # Never the text: it holds secrets.
        why = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise UsageError(
            "the prepared document cannot be read", why=why or "", where=source
        ) from None
    if not isinstance(document, dict):
        raise UsageError("the prepared document is no JSON object", where=source)
    return document


def _last_words(run_dir: RunDir) -> str:
    try:
        return run_dir.log.read_text(errors="replace")[-_LAST_WORDS:].strip()
    except OSError:
        return ""


__all__ = ["add_run_dir_option", "configure", "launch", "run"]
