# SPDX-License-Identifier: MIT
"""Where an agent lives: its private directory, its lock, and how it leaves its parent.

A run directory has ``lock`` (held as long as the agent lives), ``control.sock``,
``state.json`` (what is guarded, without secret values), ``events.ndjson`` (the journal),
``final.json`` (the report of an agent that ended in order) and ``agent.log``.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from leakstop.act import changes
from leakstop.act.cgroup import CommandCgroup
from leakstop.bpf import pins
from leakstop.errors import LeakstopError, UnsupportedError, UsageError, trace

# ``pins.release`` reads mountinfo with it, at a time when nothing may be imported any more.
codecs.lookup("unicode_escape")

_ROOT_BASE = Path("/run/leakstop")
_PACKAGE = Path(__file__).resolve().parent.parent
_SYSTEMD = Path("/run/systemd/system")
_SYSTEMD_RUN = "/usr/bin/systemd-run"

_UNIT = (
    "Type=exec",
    # An agent that was killed is started again by its supervisor, not ended with it.
    "OOMScoreAdjust=-1000",
    "OOMPolicy=continue",
    # While the runner's worker lives, SIGTERM does not end the guard (daemon/agent.py).
    "TimeoutStopSec=10",
)


def base_dir() -> Path:
    """Directory of all run directories of this user."""
    if os.geteuid() == 0:
        return _ROOT_BASE
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime or "/tmp") / f"leakstop-{os.geteuid()}"


def machine_dir() -> Path:
    """Run directory of ``leakstop start`` when none is named."""
    return base_dir() / "machine"


def fresh_name() -> str:
    """Make a name for the run directory and the cgroup of one ``leakstop run``."""
    return f"run-{os.getpid()}-{os.urandom(4).hex()}"


Serve = Callable[[], int]
"""Is the agent; returns its exit code."""


class RunDir:
    """The private directory of one agent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.path / "control.sock"

    @property
    def journal(self) -> Path:
        """The journal, unless the agent was given another file."""
        return self.path / "events.ndjson"

    @property
    def state(self) -> Path:
        """What is guarded."""
        return self.path / "state.json"

    @property
    def final(self) -> Path:
        """The report of an agent that ended in order."""
        return self.path / "final.json"

    @property
    def cgroup(self) -> Path:
        """A link to the cgroup that was made for the guarded command."""
        return self.path / "cgroup"

    @property
    def log(self) -> Path:
        """Standard error of a detached agent."""
        return self.path / "agent.log"

    def claim(self, group: int = -1) -> None:
        """Make the directory and hold its lock; ``group`` may read it.

        Raises:
            UsageError: another agent lives there.
            LeakstopError: it cannot be made, or belongs to somebody else.
        """
        try:
            self._make()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(self.path / "lock", flags, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                self._lock = -1
                raise UsageError(
                    "another agent lives in this run directory",
                    why="one agent, one run directory; guards of the same machine may overlap",
                    fix="end it with `leakstop stop`, or choose another one with `--run-dir`",
                    where=str(self.path),
                ) from None
            for name in ("control.sock", "state.json", "events.ndjson", "final.json"):
                (self.path / name).unlink(missing_ok=True)
            if group >= 0:
                os.fchmod(self._lock, 0o640)
                os.fchown(self._lock, -1, group)
                os.chown(self.path, -1, group)
                self.path.chmod(0o2750)  # set-group-id: what is made inside has the group
        except OSError as error:
            raise LeakstopError(
                f"the run directory cannot be made: {error.strerror}",
                fix="choose another one with `--run-dir`",
                where=str(self.path),
            ) from error

    def keep_log(self) -> None:
        """Send standard error to ``agent.log`` from here on."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.log, flags, 0o600)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def listen(self, group: int = -1) -> socket.socket:
        """Open the control socket; ``group`` may connect, the peer's uid is still checked."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.bind(str(self.control))
        except OSError as error:
            listener.close()
            raise UsageError(
                f"the control socket cannot be made: {error}",
                fix="a socket's path is at most 107 bytes long: choose a shorter `--run-dir`",
                where=str(self.control),
            ) from error
        if group >= 0:
            os.chown(self.control, -1, group)
        self.control.chmod(0o660 if group >= 0 else 0o600)
        listener.listen(8)
        return listener

    def alive(self) -> bool:
        """Whether an agent holds the lock."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except PermissionError:
            # A directory that is closed to us is somebody else's: who connects is told so.
            return not os.access(self.path, os.X_OK) or self.control.exists()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def sweep(self) -> None:
        """Take back what a dead agent left in the kernel and on the machine, where we may."""
        if os.geteuid() == 0:
            pins.release(self.path)
            changes.undo(self.path)

    def remove(self) -> None:
        """Sweep, and delete the directory."""
        self.sweep()
        shutil.rmtree(self.path, ignore_errors=True)

    def dissolve(self) -> None:
        """Remove the command's cgroup, too; nothing happens while a process is in it."""
        made = self.cgroup.is_symlink()
        if not made or CommandCgroup(self.cgroup.readlink()).remove(patience_s=0):
            self.remove()

    def _make(self) -> None:
        """Make the directory where nobody else can exchange it for another one."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        ours = self.path.lstat().st_uid == os.geteuid() and not self.path.is_symlink()
        if not ours or self.path.parent.stat().st_uid not in (0, os.geteuid()):
            raise UsageError(
                "the run directory, or the one above it, belongs to another user",
                why="whoever can exchange it could speak in the agent's name",
                fix="choose another one with `--run-dir`",
                where=str(self.path),
            )


def sweep_dead() -> None:
    """Take down the guards of commands that have ended, where nobody was left to do it.

    That is so when client and agent were killed together. While a process of the command lives
    its guard stays: what is denied stays denied. Only root leaves anything in the kernel.
    """
    if os.geteuid() != 0:
        return
    for run_dir in map(RunDir, _ROOT_BASE.glob("run-*")):
        client = run_dir.path.name.split("-")[1]
        # A client that has just made its directory does not hold the lock yet.
        if not Path("/proc", client).exists() and not run_dir.alive():
            run_dir.dissolve()


def fork_agent(serve: Serve) -> int:
    """Run ``serve`` in a child with a session of its own, and return its pid.

    The terminal's Ctrl-C is for the guarded command; the agent goes on to report it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.setsid()
        _serve(serve, quiet=(0, 1))
    return child


def detach(run_dir: RunDir, owner_uid: int, group: int, serve: Serve) -> None:
    """Start the agent outside this session: a transient unit under systemd, else a daemon.

    ``serve`` is the agent's main function, for the daemon; a unit starts a fresh
    interpreter, because only a process that systemd starts gets its own cgroup and log.

    Raises:
        UnsupportedError: systemd refuses.
    """
    if _SYSTEMD.is_dir() and os.geteuid() == 0 and Path(_SYSTEMD_RUN).exists():
        _as_unit(run_dir, owner_uid, group)
        return
    child = fork_agent(lambda: _leave(serve))
    os.waitpid(child, 0)


def _as_unit(run_dir: RunDir, owner_uid: int, group: int) -> None:
    # Only here: its import takes longer than the rest of this module.
    import subprocess

    command = [_SYSTEMD_RUN, "--quiet", "--collect", f"--unit=leakstop-{os.urandom(4).hex()}"]
    command += ["--description=Leakstop agent", *(f"--property={each}" for each in _UNIT), "--"]
    command += [sys.executable, "-I", "-B", str(_PACKAGE / "__main__.py"), "agent"]
    command += ["--run-dir", str(run_dir.path), "--owner", str(owner_uid), "--group", str(group)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError("systemd did not start the agent", why=done.stderr.strip())


def _leave(serve: Serve) -> int:
    """Fork once more, so that the agent is nobody's child, and let go of all streams."""
    if os.fork():
        return 0
    os.chdir("/")
    return _serve(serve, quiet=(0, 1, 2))


def _serve(serve: Serve, *, quiet: Sequence[int]) -> NoReturn:
    """Be the agent. Never returns."""
    code = 1
    try:
        # Whoever holds on to a step's pipe delays the runner's next step by five seconds.
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for stream in quiet:
            os.dup2(null, stream)
        code = serve()
    finally:
        failure = sys.exc_info()[1]
        if failure is not None:
            fault = f"leakstop: the agent ended: {trace(failure)}"
            print(fault, file=sys.stderr, flush=True)  # noqa: T201 -- its log
        os._exit(code)


__all__ = [
    "RunDir",
    "base_dir",
    "detach",
    "fork_agent",
    "fresh_name",
    "machine_dir",
    "sweep_dead",
]
