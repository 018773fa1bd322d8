# SPDX-License-Identifier: MIT
"""Keeps what runs in the job's last step from the job: mounts, until the guard ends.

The action's directory and the node that runs it belong to the job's own user. So a copy that is
root's is mounted over them, read-only, and each directory above is mounted on itself: nobody
renames a mount point (rename(2), EBUSY). That ends at a directory in which nobody but the runner
moves anything: across a mount point no program can rename a file.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from leakstop.bpf.mounts import mounts
from leakstop.errors import LeakstopError

# <sys/mount.h>
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _PRIVATE = 1, 2, 4, 32, 4096, 1 << 18
_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class Protection:
    """The mounts of one guard. What it holds is below ``copies``, a directory of root's."""

    def __init__(self, copies: Path) -> None:
        self._copies = copies
        self._points: list[Path] = []

    @property
    def points(self) -> tuple[Path, ...]:
        """What is mounted over, in the order of mounting."""
        return tuple(self._points)

    def plan(self, path: Path, top: Path) -> list[Path]:
        """What ``cover`` will mount over, in its order."""
        target, end = path.resolve(strict=True), top.resolve(strict=True)
        above = [parent for parent in target.parents if parent.is_relative_to(end)]
        return [parent for parent in (*reversed(above), target) if parent not in self._points]

    def cover(self, path: Path, top: Path) -> None:
        """Mount a copy of ``path``, a directory or a file, over it; ``top`` is the last directory
        above it that is mounted on itself.

        Raises:
            LeakstopError: it cannot be copied or mounted; what was mounted before stays.
        """
        copy = self._copies / str(len(self._points))
        try:
            *above, target = self.plan(path, top)
            _copy(target, copy)
            for parent in above:
                self._mount(parent, parent)
            self._mount(copy, target)
            _call(b"", target, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
        except OSError as error:
            raise LeakstopError(
                f"the action's own files cannot be protected: {error.strerror}",
                why="whoever can exchange them can make the job's last step say that all is well",
                where=str(path),
            ) from error

    def _mount(self, source: Path, target: Path) -> None:
        _call(os.fsencode(source), target, _BIND)
        self._points.append(target)
        _call(b"", target, _PRIVATE)  # what is mounted below later is nobody's copy


def uncover(points: Iterable[str]) -> None:
    """Take the mounts away, the last first, also in the name of an agent that is dead."""
    there = {mount.point for mount in mounts()}
    for point in reversed([Path(each) for each in points]):
        if point in there:
            _libc.umount2(os.fsencode(point), _DETACH)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if source.is_dir():
        # Links as links: what they point to is covered with it, or is not the action's.
        shutil.copytree(source, target, symlinks=True, copy_function=_copy_file)
        for directory, _, _ in os.walk(target):
            Path(directory).chmod(0o755)
    else:
        _copy_file(source, target)


def _copy_file(source: str | Path, target: str | Path) -> None:
    shutil.copyfile(source, target, follow_symlinks=False)
    if not Path(target).is_symlink():
        # Ours now, and the job's user has to read it.
        Path(target).chmod(0o755 if Path(source).stat().st_mode & 0o111 else 0o644)


def _call(source: bytes, target: Path, flags: int) -> None:
    if _libc.mount(source or None, os.fsencode(target), None, flags, None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


__all__ = ["Protection", "uncover"]
