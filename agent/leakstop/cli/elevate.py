# SPDX-License-Identifier: MIT
"""What the hook does as root: start the agent, and clean up behind it.

Root never runs code from where the job can write. The package is copied to a directory of
root's first, when no step of the job has run yet, and everything after that starts there:
the agent, and the hook's own ``post``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leakstop.cli.dependencies import VENDOR
from leakstop.daemon import lifecycle
from leakstop.daemon.control import error_from_json
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.errors import ExitCode, LeakstopError, UnsupportedError

_PACKAGE = Path(__file__).resolve().parents[1]
_BASE = Path("/run/leakstop")
_SUDO = "/usr/bin/sudo"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_PATIENCE_S = 120.0
"""With a command of root's: an agent may take START_S to start and ANSWER_S to be armed."""
_CURE = "   = "


@dataclass(frozen=True, slots=True)
class Place:
    """Where one guard lives."""

    run_dir: Path
    code: Path
    """The package that it runs, and that ``post`` runs."""

    @property
    def is_roots(self) -> bool:
        """Whether root owns it, rather than us."""
        return self.code.is_relative_to(_BASE)


def prepare_place() -> Place:
    """Copy the package to where only root can write; stay where we are without root.

    Raises:
        LeakstopError: the copy failed.
    """
    name = secrets.token_hex(8)
    if _root_prefix() is None:
        return Place(lifecycle.base_dir() / f"job-{name}", _PACKAGE)
    place = Place(_BASE / f"job-{name}", _BASE / f"code-{name}" / _PACKAGE.name)
    _as_root(["/bin/mkdir", "-p", "-m", "0755", str(place.code.parent)])
    copied = [str(folder) for folder in (_PACKAGE, VENDOR) if folder.is_dir()]
    _as_root(["/bin/cp", "-R", "--no-preserve=all", "--", *copied, str(place.code.parent)])
    return place


def start_agent(place: Place, request: ArmRequest) -> None:
    """Start an agent at ``place``, with ``request`` in force.

    Raises:
        LeakstopError: it could not be started or armed, in the words of the one who knows why.
    """
    command = [_interpreter(place), "-I", "-B", str(place.code / "__main__.py"), "start"]
    command += ["--prepared", "-", "--run-dir", str(place.run_dir)]
    if request.worker_pid:
        command += ["--worker", str(request.worker_pid)]
    document = json.dumps(request_to_json(request)).encode()
    if place.is_roots:
        _as_root(command, document)
    else:
        _run(command, document)


def clean_up(place: Place, *, sweep: bool) -> None:
    """Remove what a guard leaves behind, if we still may; nothing depends on it.

    With ``sweep``, what an agent that died left in the kernel goes first.
    """
    if not place.is_roots:
        lifecycle.RunDir(place.run_dir).remove()
        return
    program = [sys.executable, "-I", "-B", str(place.code / "__main__.py")]
    with contextlib.suppress(LeakstopError):
        if sweep:
            with contextlib.suppress(LeakstopError):  # it exits with the verdict
                _as_root([*program, "stop", "--run-dir", str(place.run_dir)])
        _as_root(["/bin/rm", "-rf", "--", str(place.run_dir), str(place.code.parent)])


def _interpreter(place: Place) -> str:
    """This interpreter, unless root would run what somebody else can write.

    Raises:
        UnsupportedError: it is not the system's.
    """
    if place.is_roots and Path(sys.executable).resolve().stat().st_uid != 0:
        raise UnsupportedError(
            "the system's Python is older than 3.10",
            why=f"root does not run {sys.executable}, which belongs to somebody else",
            fix="install Python 3.10 or newer as /usr/bin/python3",
        )
    return sys.executable


def _root_prefix() -> tuple[str, ...] | None:
    """What makes a command root's; ``None`` where nothing does."""
    if os.geteuid() == 0:
        return ()
    if not os.access(_SUDO, os.X_OK):
        return None
    prefix = (_SUDO, "-n", "--")
    asked = subprocess.run([*prefix, "/bin/true"], capture_output=True, env=_ENVIRONMENT)
    return prefix if asked.returncode == 0 else None


def _as_root(command: Sequence[str], document: bytes = b"") -> None:
    prefix = () if os.geteuid() == 0 else (_SUDO, "-n", "--")
    _run([*prefix, *command], document)


def _run(command: Sequence[str], document: bytes = b"") -> None:
    try:
        done = subprocess.run(
            command,
            input=document,
            capture_output=True,
            env=_ENVIRONMENT,
            cwd="/",
            umask=0o022,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeakstopError(f"{command[0]} could not be run: {error}") from None
    if done.returncode:
        raise _failure(done.returncode, done.stderr.decode(errors="replace"))


def _failure(code: int, said: str) -> LeakstopError:
    """The error that another process of ours printed, or whatever a program said instead."""
    text = said.strip().removeprefix("leakstop: ")
    head, *rest = text.splitlines() or [f"exit code {code}"]
    where, _, what = head.partition("error: ")
    cures = [line.removeprefix(_CURE) for line in rest if line.startswith(_CURE)]
    known = code in {int(member) for member in ExitCode} and code > 0
    return error_from_json(
        {
            "exit": code if known else int(ExitCode.INTERNAL),
            "what": what or head,
            "why": cures[0] if len(cures) > 1 else "",
            "fix": cures[-1] if cures else "",
            "where": where.removesuffix(": ") if what else "",
            "text": text,
        }
    )


__all__ = ["Place", "clean_up", "prepare_place", "start_agent"]
