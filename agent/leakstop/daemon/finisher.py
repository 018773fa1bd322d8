# SPDX-License-Identifier: MIT
"""Who may change or end a guard while the job runs that it guards.

Root may, and who holds the key, unless the asker belongs to the job: then only the two that the
runner itself calls, as children of its worker, which no step can make.

- The action's own hook: python, started by node on the script that the guard was armed from.
  It holds the key, which the runner keeps in its memory.
- The script named by ``--finisher``, which the runner calls when the job is over. A step can run
  it as well, but not as the first program of a child of the worker: what that is, the kernel has
  told (a process can rewrite its arguments in /proc).

Root in the job can still have it done by somebody who is not of the job (systemd, cron). Then the
guard is down early, and the hook finds it gone: that job is red.
"""

from __future__ import annotations

import hmac
import os
import select
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from leakstop.daemon import control
from leakstop.daemon.request import ArmRequest
from leakstop.engine.lineage import Lineage
from leakstop.errors import UsageError
from leakstop.sensor import proc
from leakstop.sensor.proc import Process

_PACKAGE = Path(__file__).resolve().parent.parent
_PHASES = {"arm": ("pre", "main"), "finish": ("post",)}
_SHELLS = frozenset({"bash", "sh", "dash"})
_OPTIONS = frozenset({"-e", "-o", "pipefail", "--noprofile", "--norc"})
"""With which the runner starts a shell (ScriptHandlerHelpers.cs)."""
_DEPTH = 64

KEYLESS = "the key that was set when it was armed is missing or wrong"
OF_THE_JOB = "it belongs to the job, and is not the hook that the runner calls"
GONE = "it is gone, or is another process by now"


class Refused(UsageError):
    """Who asked may not."""

    pid = 0
    """Who it was."""
    of_job = False
    """Not for want of a key: it belongs to what is guarded."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may, for one guard."""

    request: ArmRequest
    owner_uid: int
    known: Lineage

    def require(self, connection: socket.socket, question: str, key: str) -> None:
        """Let the peer change (``arm``, ``words``) or end (``finish``) the guard.

        Raises:
            Refused: it may not.
        """
        uid, pid = control.peer_uid(connection), control.peer_pid(connection)
        request = self.request
        why = ""
        if not control.may_command(uid, self.owner_uid, key, request.finish_key):
            why = KEYLESS
        elif request.worker_pid and question in _PHASES:  # words only explain
            with control.peer_pidfd(connection) as descriptor:
                why = self._why_not(pid, question, key, descriptor)
        if why:
            error = Refused(
                "only the one who armed the guard may change or end it",
                why=why,
                fix="ask as root from outside of the job, or let the runner's own last step end it",
            )
            error.pid, error.of_job = pid, why != KEYLESS
            raise error

    def _why_not(self, pid: int, question: str, key: str, descriptor: int) -> str:
        chain = _chain(pid, self.request.worker_pid)
        why = self._judge(chain, pid, question, key)
        # Read twice: nobody of them has become another process meanwhile.
        same = [each.start_ns for each in chain] == [_start(each.pid) for each in chain]
        lives = descriptor < 0 or not select.select([descriptor], [], [], 0)[0]
        return why if chain and same and lives else GONE

    def _judge(self, chain: Sequence[Process], pid: int, question: str, key: str) -> str:
        below = bool(chain) and chain[-1].ppid == self.request.worker_pid
        if not below and not any(map(self.known.is_of_job, (pid, *(each.pid for each in chain)))):
            return ""
        if below and self._is_hook(chain, question):
            same = hmac.compare_digest(key.encode(), self.request.finish_key.encode())
            return "" if same else KEYLESS
        if below and question == "finish" and self._is_finisher(chain):
            return ""
        return OF_THE_JOB

    def _is_hook(self, chain: Sequence[Process], question: str) -> bool:
        request = self.request
        if not request.hook or len(chain) != 2:
            return False
        python, node = chain
        hook = PurePath(request.hook)
        program = _PACKAGE if question == "finish" else hook.parent / "leakstop"
        return node.exe == request.node and any(
            node.argv[1:] == (os.fsencode(hook / f"{phase}.js"),)
            and _runs(python.argv, program / "__main__.py", phase)
            for phase in _PHASES[question]
        )

    def _is_finisher(self, chain: Sequence[Process]) -> bool:
        script = self.request.finisher
        if not script or not is_roots(Path(script)):
            return False
        first = self.known.first_of(chain[-1].pid)
        if not first or first[-1] != script:
            return False
        shell = PurePath(first[0]).name in _SHELLS and _OPTIONS.issuperset(first[1:-1])
        return shell or first == (script,)


def _chain(pid: int, worker: int) -> list[Process]:
    """The process and those above it, up to the child of the worker."""
    chain: list[Process] = []
    while pid > 1 and pid != worker and len(chain) < _DEPTH:
        process = proc.read(pid)
        if process is None:
            return []
        chain.append(process)
        pid = process.ppid
    return chain


def _start(pid: int) -> int:
    found = proc.stat(pid)
    return found[1] if found is not None else -1


def _runs(argv: Sequence[bytes], program: PurePath, phase: str) -> bool:
    """Whether it was started as hook.js starts the interpreter."""
    if len(argv) != 6 or (*argv[1:3], *argv[4:]) != (b"-I", b"-B", b"hook", phase.encode()):
        return False
    return os.path.realpath(argv[3]) == os.path.realpath(os.fsencode(program))


def is_roots(path: Path) -> bool:
    """Whether only root can change a file, or put another one into its place; also behind links,
    whose own permissions mean nothing."""
    try:
        for place in (path, *path.parents):
            found = place.lstat()
            link = stat.S_ISLNK(found.st_mode)
            writable = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
            if found.st_uid or (writable and not link):
                return False
            if link and not is_roots(place.parent / place.readlink()):
                return False
    except (OSError, RecursionError):
        return False
    return True


__all__ = ["GONE", "KEYLESS", "OF_THE_JOB", "Refused", "Rules", "is_roots"]
