# SPDX-License-Identifier: MIT
"""Takes from the job's user what would make it root: sudo, and the container engines.

What is taken is read back, and written into a ledger before: so whoever ends the guard can give
it back, also when the agent that took it is dead, and of two guards on one machine the last one
does. The ledger is root's, and goes with the machine's next start, as the changes need not.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from leakstop.errors import LeakstopError, UnsupportedError

LEDGER = Path("/run/leakstop/lockdown.json")
SUDOERS = Path("/etc/sudoers.d")
ENGINE_GROUP = "docker"
ENGINE_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/crio/crio.sock",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
)
"""Whoever may write to one of these can start a container with the machine's root in it."""

_SUDO, _VISUDO, _GPASSWD = "/usr/bin/sudo", "/usr/sbin/visudo", "/usr/bin/gpasswd"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_PATIENCE_S = 20.0
_OWNERS_ONLY = 0o600

Before = list[Any]
"""How a thing was, as JSON."""


class Thing(Protocol):
    """Something that can be taken from the job's user."""

    @property
    def key(self) -> str:
        """What it is called in the ledger."""

    def look(self) -> Before:
        """How it is now."""

    def take(self) -> None:
        """Take it, and read back that it is gone.

        Raises:
            LeakstopError: it is not.
        """

    def give_back(self, before: Before) -> None:
        """Make it as it was; what has gone since stays gone."""


@dataclass(frozen=True, slots=True)
class Sudo:
    """The right to run anything by sudo."""

    uid: int

    @property
    def key(self) -> str:
        """What it is called in the ledger."""
        return f"sudo:{self.uid}"

    @property
    def file(self) -> Path:
        """In sudoers the last rule that matches wins, and files are read in the order of names."""
        return SUDOERS / f"zzzz-leakstop-{self.uid}"

    def look(self) -> Before:
        """How it is now: the drop-in is ours alone, so there is nothing to remember."""
        return []

    def take(self) -> None:
        """Forbid everything, as the last word."""
        draft = self.file.with_name(f".{self.file.name}")  # names with a dot are not read
        try:
            draft.write_text(
                f"# Leakstop: taken away while a job runs.\n#{self.uid} ALL=(ALL:ALL) !ALL\n"
            )
            draft.chmod(0o440)
            _run(_VISUDO, "-c", "-q", "-f", str(draft))
            draft.rename(self.file)
        except OSError as error:
            raise _failed("sudo", f"{error.strerror}: {error.filename}") from error
        finally:
            draft.unlink(missing_ok=True)
        user = pwd.getpwuid(self.uid).pw_name  # it takes no number here
        rights = _run(_SUDO, "-l", "-U", user).split()
        if rights and rights[-1] != "!ALL":
            raise _failed("sudo", f"`sudo -l` still ends with {rights[-1]!r}")

    def give_back(self, before: Before) -> None:
        """Take the drop-in away."""
        self.file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Socket:
    """The way to a container engine. Processes keep a group that is taken from their user, so the
    socket itself is closed to all but root."""

    path: str

    @property
    def key(self) -> str:
        """What it is called in the ledger."""
        return f"socket:{self.path}"

    def look(self) -> Before:
        """Its mode, owner and group."""
        found = os.lstat(self.path)
        return [stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid]

    def take(self) -> None:
        """Leave it to root."""
        Path(self.path).chmod(_OWNERS_ONLY)
        os.chown(self.path, 0, 0)
        if self.look() != [_OWNERS_ONLY, 0, 0]:
            raise _failed("docker", f"{self.path} is still open to others than root")

    def give_back(self, before: Before) -> None:
        """Open it again."""
        mode, uid, gid = before
        with contextlib.suppress(FileNotFoundError):
            os.chown(self.path, uid, gid)
            Path(self.path).chmod(mode)


@dataclass(frozen=True, slots=True)
class Membership:
    """To be in a group: a new login would have it, and with it what belongs to the group."""

    user: str
    group: str

    @property
    def key(self) -> str:
        """What it is called in the ledger."""
        return f"group:{self.group}:{self.user}"

    def look(self) -> Before:
        """Whether it is so."""
        return [self.user in grp.getgrnam(self.group).gr_mem]

    def take(self) -> None:
        """Strike the user off the group."""
        if self.look() == [True]:
            _run(_GPASSWD, "--delete", self.user, self.group)
        if self.look() == [True]:
            raise _failed("docker", f"{self.user} is still in the group {self.group}")

    def give_back(self, before: Before) -> None:
        """Let the user in again."""
        if before == [True]:
            _run(_GPASSWD, "--add", self.user, self.group)


def lock_down(what: Iterable[str], uid: int, holder: str) -> None:
    """Take ``what`` (``sudo``, ``docker``) from the user ``uid`` until ``release(holder)``.

    Raises:
        UnsupportedError: the job runs as root, who cannot be kept from anything.
        LeakstopError: something could not be taken; what was is given back.
    """
    wanted = tuple(what)
    if not wanted:
        return
    if uid == 0 or os.geteuid() != 0:
        job = "the job runs as root, or as a user whom nobody named (as under the job hooks)"
        who = job if uid == 0 else "Leakstop does not run as root"
        raise UnsupportedError(
            f"`lockdown` can do nothing here: {who}",
            fix="run the job as an ordinary user who may use sudo, or leave `lockdown` out of the "
            "policy",
        )
    try:
        with _ledger() as ledger:
            for thing in things(wanted, uid):
                entry = ledger.setdefault(thing.key, {"before": thing.look(), "holders": []})
                entry["holders"].append(holder)
                _write(ledger)
                thing.take()
    except BaseException as error:
        release(holder)
        if isinstance(error, OSError):
            where = error.filename or ", ".join(wanted)
            raise _failed(where, error.strerror or str(error)) from error
        raise


def things(wanted: Sequence[str], uid: int) -> Iterator[Thing]:
    """What there is to take on this machine."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = ""  # who has no name is in no group, and sudo does nothing for him
    if "sudo" in wanted and user and Path(_SUDO).exists():
        yield Sudo(uid)
    if "docker" in wanted:
        yield from (Socket(path) for path in ENGINE_SOCKETS if _is_socket(path))
        with contextlib.suppress(KeyError):  # no such group
            if user:
                yield Membership(user, grp.getgrnam(ENGINE_GROUP).gr_name)


def release(holder: str) -> tuple[str, ...]:
    """Give back what nobody but ``holder`` keeps; nothing happens if it keeps nothing.

    Returns what could not be given back, in whole sentences: the next ``release`` tries again.
    """
    failed: list[str] = []
    if not LEDGER.exists():
        return ()
    with _ledger() as ledger:
        for key, entry in list(ledger.items()):
            entry["holders"] = [each for each in entry["holders"] if each != holder]
            if not entry["holders"]:
                try:
                    _thing(key).give_back(entry["before"])
                except (LeakstopError, OSError) as error:
                    why = error.why if isinstance(error, LeakstopError) else error.strerror
                    failed.append(f"What `lockdown` took was not given back: `{key}` ({why}).")
                else:
                    del ledger[key]
    return tuple(failed)


def _thing(key: str) -> Thing:
    kind, _, rest = key.partition(":")
    if kind == "sudo":
        return Sudo(int(rest))
    if kind == "socket":
        return Socket(rest)
    group, _, user = rest.partition(":")
    return Membership(user, group)


@contextlib.contextmanager
def _ledger() -> Iterator[dict[str, Any]]:
    """What is taken, alone: two guards may begin or end at once."""
    LEDGER.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = _locked(_lock_file())
    try:
        ledger: dict[str, Any] = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
        try:
            yield ledger
        finally:
            _write(ledger)
    finally:
        os.close(lock)


def _lock_file() -> Path:
    return LEDGER.with_suffix(".lock")


def _locked(path: Path) -> int:
    """Open ``path``, alone. Who was waited for may have taken the file away: then it is another."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNERS_ONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)


def _write(ledger: dict[str, Any]) -> None:
    if not ledger:
        LEDGER.unlink(missing_ok=True)
        _lock_file().unlink()
        return
    fresh = LEDGER.with_suffix(".new")
    fresh.write_text(json.dumps(ledger))
    fresh.chmod(_OWNERS_ONLY)
    fresh.rename(LEDGER)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(command[0], str(error)) from error
    if done.returncode:
        raise _failed(command[0], done.stderr.strip() or f"exit code {done.returncode}")
    return done.stdout


def _failed(what: str, why: str) -> LeakstopError:
    return LeakstopError(
        f"lockdown failed: {what}",
        why=why,
        fix="leave `lockdown` out of the policy, or mend what stands in the way; the job ends "
        "here, because it was to run without these rights",
    )


__all__ = ["LEDGER", "SUDOERS", "Membership", "Socket", "Sudo", "lock_down", "release", "things"]
