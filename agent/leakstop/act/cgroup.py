# SPDX-License-Identifier: MIT
"""cgroup v2: where it is, and a fresh child of it for one guarded command."""

from __future__ import annotations

import os
import time
from pathlib import Path

from leakstop.bpf.mounts import mount_of
from leakstop.errors import UnsupportedError


def cgroup2_mount(mountinfo: str | None = None) -> Path:
    """Return where cgroup v2 is mounted.

    A mount of the whole hierarchy (its root is ``/``) wins over a mount of a part of it.

    Raises:
        UnsupportedError: there is no cgroup v2.
    """
    found = mount_of("cgroup2", mountinfo)
    if found is None:
        raise UnsupportedError(
            "this machine has no cgroup v2",
            why="the guard is attached to a cgroup v2 directory, and none is mounted",
            fix="mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        )
    return found


def own_cgroup(mount: Path, proc_cgroup: str | None = None) -> Path:
    """Return this process's cgroup v2 directory, or the mount where it is out of sight."""
    text = _cgroups_of("self") if proc_cgroup is None else proc_cgroup
    for line in text.split("\n"):
        hierarchy, _, path = line.partition("::")
        if hierarchy == "0":
            inside = mount / path.lstrip("/")
            # In a cgroup namespace the path may lead above the namespace's root ("/../x").
            return inside if ".." not in inside.parts and inside.is_dir() else mount
    return mount


def is_frozen(pid: int) -> bool:
    """Whether the cgroup that ``pid`` is in, or one above it, is frozen (cgroup.freeze)."""
    try:
        group = own_cgroup(cgroup2_mount(), _cgroups_of(str(pid)))
        return "frozen 1" in (group / "cgroup.events").read_text().splitlines()
    except (OSError, UnsupportedError):
        return False


def _cgroups_of(pid: str) -> str:
    """A name in it may be anything but a line break."""
    return Path("/proc", pid, "cgroup").read_text(errors="surrogateescape")


class CommandCgroup:
    """A fresh child cgroup that holds one command and everything it starts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str) -> CommandCgroup:
        """Make the directory ``name`` below ``parent``.

        Raises:
            UnsupportedError: the hierarchy cannot be written.
        """
        path = parent / name
        try:
            path.mkdir()
        except OSError as error:
            raise UnsupportedError(
                f"no cgroup could be made for the command: {error.strerror}",
                fix="run as root, on a machine whose cgroup v2 hierarchy can be written",
                where=str(path),
            ) from error
        return cls(path)

    def enter(self) -> None:
        """Move the calling process in. Its children are born inside."""
        (self.path / "cgroup.procs").write_text("0")

    def pids(self) -> tuple[int, ...]:
        """Processes that are inside now, in child cgroups too."""
        found: list[int] = []
        for directory, _, _ in os.walk(self.path):
            try:
                text = (Path(directory) / "cgroup.procs").read_text()
            except OSError:
                continue  # a child cgroup that went away while we looked
            found += [int(pid) for pid in text.split()]
        return tuple(found)

    def kill(self) -> int:
        """Kill whatever is still inside, and return how many processes that were."""
        leftover = len(self.pids())
        if leftover:
            # cgroup.kill (Linux 5.14) has no race with forks.
            (self.path / "cgroup.kill").write_text("1")
        return leftover

    def remove(self, patience_s: float = 2.0) -> bool:
        """Remove the directory, waiting for killed processes to be gone."""
        deadline = time.monotonic() + patience_s
        while not self._removed():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def _removed(self) -> bool:
        try:
            for directory, _, _ in os.walk(self.path, topdown=False):
                Path(directory).rmdir()
        except OSError:
            return False
        return True
