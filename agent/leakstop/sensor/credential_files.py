# SPDX-License-Identifier: MIT
"""Reads the files in which tools keep credentials, at start and whenever one is written.

Where they are is known: below the homes of the job's processes, in its checkout, and where a
variable of theirs points. Root reads what the job may have put there, so nothing is followed or
opened that is no regular file, and of that only the beginning.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from leakstop.secrets import credentials
from leakstop.sensor import proc
from leakstop.sensor.inotify import Change, Inotify
from leakstop.sensor.inventory import Inventory
from leakstop.sensor.waking import join

MAX_DIRECTORIES = 192
"""Watched ones; each takes a descriptor."""
MAX_ENTRIES = 4096
"""Of a directory, when it is looked through."""

NOTE = (
    "Files with credentials were not read when they were written: this machine does not allow "
    "another inotify instance."
)
_SCRATCH = "RUNNER_TEMP"
"""Where actions put the files that they point to."""
_PLACES = frozenset({"HOME", "GITHUB_WORKSPACE", _SCRATCH})


@dataclass(slots=True)
class _Directory:
    path: str
    """As the job sees it, without a slash at its end."""
    descriptor: int
    below: frozenset[str]
    """Directories in it, at any depth, that are to be watched as soon as they are there."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Files to be read whatever they are called, and as what kind."""


class CredentialFiles:
    """Fills an inventory from files."""

    variables = _PLACES | frozenset(credentials.POINTERS) | frozenset(credentials.HOMES)
    """Variables of processes that say where credentials are."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._inotify: Inotify | None = None
        self._watched: dict[int, _Directory] = {}

    def start(self) -> tuple[str, ...]:
        """Begin; return what cannot be seen."""
        try:
            self._inotify = Inotify()
        except OSError:
            return (NOTE,)
        return ()

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up when a file was written."""
        if self._inotify is not None:
            join(epoll, self._inotify)

    def close(self) -> None:
        """Watch no more."""
        for directory in self._watched.values():
            os.close(directory.descriptor)
        self._watched.clear()
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    # -- where to look ----------------------------------------------------------------------

    def work_in(self, pid: int) -> None:
        """The directory that ``pid`` is in is a checkout."""
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115 - a link, never a path of ours
            self._add(pid, path, credentials.WORKSPACE)

    def pointed(self, pid: int, variables: dict[str, str]) -> None:
        """Look where the variables of ``pid`` point."""
        for name, value in variables.items():
            path = value.rstrip("/")
            if not path.startswith("/"):
                continue
            if name == "HOME":
                self._add(pid, path, credentials.DIRECTORIES)
            elif name in credentials.POINTERS:
                directory, _, file = path.rpartition("/")
                self._add(pid, directory, ("",), {file: credentials.POINTERS[name]})
            else:
                below = credentials.WORKSPACE if name == "GITHUB_WORKSPACE" else ("",)
                self._add(pid, path, below)

    def _add(
        self, pid: int, path: str, below: tuple[str, ...], kinds: dict[str, str] | None = None
    ) -> None:
        """Watch ``path`` as ``pid`` sees it: in a container it is another one than ours."""
        opening = partial(os.open, f"/proc/{pid}/root{path}", _DIRECTORY)
        self._watch(opening, path, frozenset(filter(None, below)), kinds or {})

    def _watch(
        self,
        opening: partial[int],
        path: str,
        below: frozenset[str],
        kinds: dict[str, str],
    ) -> None:
        if self._inotify is None or len(self._watched) >= MAX_DIRECTORIES:
            return
        try:
            descriptor = opening()
        except (OSError, ValueError):
            return  # not there yet: the one above tells when it comes
        try:
            number = self._inotify.watch(descriptor)
        except OSError:
            os.close(descriptor)
            return
        known = self._watched.get(number)
        if known is not None:  # the same directory by another way
            os.close(descriptor)
            if below <= known.below and kinds.items() <= known.kinds.items():
                return
            descriptor, below = known.descriptor, below | known.below
            kinds = {**known.kinds, **kinds}
        directory = _Directory(path, descriptor, below, kinds)
        self._watched[number] = directory
        self._look_through(directory)

    def _enter(self, directory: _Directory, name: str) -> None:
        """Watch ``name`` in ``directory``, if it is one of those that matter."""
        below = {each.partition("/")[2] for each in directory.below if each.split("/")[0] == name}
        if below:
            opening = partial(os.open, name, _DIRECTORY, dir_fd=directory.descriptor)
            inner = frozenset(filter(None, below))
            self._watch(opening, f"{directory.path}/{name}", inner, {})

    # -- what is there ----------------------------------------------------------------------

    def follow(self) -> None:
        """Read what was written."""
        if self._inotify is None:
            return
        with contextlib.suppress(OSError):
            # A file that was written ten times is read once.
            for change in dict.fromkeys(self._inotify.changes()):
                self._see(change)

    def _see(self, change: Change) -> None:
        if change.lost:
            for watched in list(self._watched.values()):
                self._look_through(watched)
            return
        directory = self._watched.get(change.watch)
        if directory is None:
            return
        if change.gone:
            os.close(self._watched.pop(change.watch).descriptor)
        elif change.directory:
            self._enter(directory, change.name)
        else:
            self._read(directory, change.name)

    def _look_through(self, directory: _Directory) -> None:
        for name in sorted({each.split("/")[0] for each in directory.below}):
            self._enter(directory, name)
        for name in _names(directory.descriptor):
            self._read(directory, name)

    def _read(self, directory: _Directory, name: str) -> None:
        path, kind = f"{directory.path}/{name}", directory.kinds.get(name, "")
        if kind or credentials.is_credential_file(path):
            data = _contents(name, directory.descriptor)
            shown = proc.text(os.fsencode(path))
            self._inventory.take(credentials.read(shown, data, kind))


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK


def _names(descriptor: int) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(descriptor) as entries:
        for _, entry in zip(range(MAX_ENTRIES), entries, strict=False):
            yield entry.name


def _contents(name: str, directory: int) -> bytes:
    """The beginning of a regular file; empty if it is anything else.

    Opened only once it is known to be one: opening a device may do something, a FIFO waits.
    """
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except (OSError, ValueError):
        return b""
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return b""
        descriptor = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            return file.read(credentials.MAX_FILE)
    except OSError:
        return b""
    finally:
        os.close(found)


__all__ = ["MAX_DIRECTORIES", "NOTE", "CredentialFiles"]
