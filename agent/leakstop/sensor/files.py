# SPDX-License-Identifier: MIT
"""Files on which the machine, the job's later steps and the guard's own step stand.

Whoever changes one of them is told by the kernel itself (fanotify), so nothing is polled.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from leakstop.secrets.masker import Masker
from leakstop.sensor import fanotify
from leakstop.sensor.fanotify import Touch
from leakstop.sensor.timer import now_ns
from leakstop.sensor.waking import join

_CHANGED = (
    fanotify.CLOSE_WRITE
    | fanotify.CREATE
    | fanotify.MOVED_TO
    | fanotify.MOVED_FROM
    | fanotify.DELETE
)
_WRITTEN = fanotify.CLOSE_WRITE | fanotify.MOVED_TO


@dataclass(frozen=True, slots=True)
class Watched:
    """Names in one directory, and what it means that one of them is touched."""

    directory: str
    names: tuple[str, ...]
    """Globs."""
    trick: Trick


MACHINE = (
    Watched("/etc", ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf"), Trick.RESOLVER),
    Watched("/run/systemd/resolve", ("*.conf",), Trick.RESOLVER),
    Watched("/etc/systemd", ("resolved.conf",), Trick.RESOLVER),
    Watched("/etc/systemd/resolved.conf.d", ("*",), Trick.RESOLVER),
    Watched("/etc", ("sudoers", "ld.so.preload"), Trick.PRIVILEGES),
    Watched("/etc/sudoers.d", ("*",), Trick.PRIVILEGES),
    Watched("/etc/pam.d", ("*",), Trick.PRIVILEGES),
    Watched("/etc/polkit-1/rules.d", ("*",), Trick.PRIVILEGES),
)
"""Of every machine, as far as they are there."""

HIJACKS = re.compile(
    r"LD_PRELOAD|LD_AUDIT|BASH_ENV|ENV|GCONV_PATH|GLIBC_TUNABLES|PERL5OPT|RUBYOPT|PYTHONSTARTUP"
    r"|PYTHONHOME|GIT_EXEC_PATH|NODE_OPTIONS"
)
"""Variables that make a program run somebody's code before its own. Not those that are paths to
search (LD_LIBRARY_PATH, PYTHONPATH): actions that install a language set them for good."""

_LARGEST = 1 << 20
_HEREDOC = re.compile(r"(?P<name>[^=<\n]+)<<(?P<end>.+)")


class FileWatch:
    """Tells who touched what is watched: a follower of the sensor."""

    def __init__(self, watched: Iterable[Watched], masker: Masker, environment: str = "") -> None:
        """``environment``: the runner's file for variables of later steps (GITHUB_ENV), of this
        step: those of the others are beside it."""
        self._watched = tuple(watched)
        self._masker = masker
        self._environment = Path(environment) if environment else None
        self._names: fanotify.Names | None = None

    def start(self) -> tuple[str, ...]:
        """Watch what is there."""
        directories = dict.fromkeys(each.directory for each in self._watched)
        if self._environment is not None:
            directories[str(self._environment.parent)] = None
        try:
            self._names = fanotify.Names()
            for directory in filter(os.path.isdir, directories):
                self._names.watch(directory, _CHANGED)
        except OSError as error:
            where = error.filename or "the machine's files"
            return (f"Changes to {where} were not seen ({error.strerror}).",)
        return ()

    def wake(self, epoll: int) -> None:
        """Wake the sensor for a change."""
        if self._names is not None:
            join(epoll, self._names)

    def see(self, event: Event) -> Iterable[Event]:
        """Take in an event; none of them matters here."""
        return ()

    def follow(self) -> Iterator[Event]:
        """Return what was touched since."""
        if self._names is None:
            return
        now = now_ns()
        told: set[tuple[int, Trick, str]] = set()
        for touch in self._names.touches():
            if touch.pid == os.getpid():
                continue
            for trick, what in (*self._touched(touch), *self._variables(touch)):
                if (touch.pid, trick, what) not in told:
                    told.add((touch.pid, trick, what))
                    yield Tamper(now, touch.pid, trick, self._masker.mask(what, cut=False))

    def close(self) -> None:
        """Watch no more."""
        if self._names is not None:
            self._names.close()
            self._names = None

    def _touched(self, touch: Touch) -> Iterator[tuple[Trick, str]]:
        directory, _, name = touch.path.rpartition("/")
        for each in self._watched:
            if each.directory == directory and any(fnmatchcase(name, glob) for glob in each.names):
                yield each.trick, touch.path

    def _variables(self, touch: Touch) -> Iterator[tuple[Trick, str]]:
        """Hijacking variables in a file for later steps that was written."""
        own = self._environment
        if own is None or not touch.mask & _WRITTEN:
            return
        path = Path(touch.path)
        # The runner calls each step's `set_env_` and a number; act has one for all.
        if path.parent == own.parent and (path.name == own.name or _stem(path) == _stem(own)):
            for name in variables(_read(path)):
                if HIJACKS.fullmatch(name):
                    yield Trick.ENVIRONMENT, name


def variables(text: str) -> Iterator[str]:
    """Names of the variables that a file in the form of GITHUB_ENV sets."""
    lines = iter(text.splitlines())
    for line in lines:
        heredoc = _HEREDOC.match(line)
        if heredoc:
            yield heredoc["name"].strip()
            for value in lines:
                if value == heredoc["end"]:
                    break
        elif "=" in line:
            yield line.partition("=")[0].strip()


def _stem(path: Path) -> str:
    return path.name.rpartition("_")[0]


def _read(path: Path) -> str:
    """The file as it is now, empty if it is none; it is the job's, so it may be anything."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


__all__ = ["HIJACKS", "MACHINE", "FileWatch", "Watched", "variables"]
