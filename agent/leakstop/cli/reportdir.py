# SPDX-License-Identifier: MIT
"""``--report-dir``: where the report's files go, opened before the command can touch it.

The command usually may write to this directory, and we may be root: so the directory is
held by descriptor, and each file is made anew, never opened through a link.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from leakstop.cli.confined import Identity
from leakstop.errors import UsageError

JOURNAL = "events.ndjson"


class ReportDir:
    """A directory for reports that belong to ``owner``."""

    def __init__(self, path: Path, owner: Identity) -> None:
        """Make the directory if it is not there, and open it.

        Raises:
            UsageError: it cannot be made or written.
        """
        self.path = path
        self._owner = owner
        try:
            if not path.is_dir():
                path.mkdir(parents=True)
                self._give(path)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(
                f"the report directory cannot be used: {error.strerror}",
                fix="name one that can be made and written with `--report-dir`",
                where=str(path),
            ) from error

    def create(self, name: str) -> BinaryIO:
        """Make the file ``name`` anew, open for reading and appending; it is still ours.

        Raises:
            OSError: the disk is full, or the directory is not writable.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o644, dir_fd=self._descriptor)
        return os.fdopen(descriptor, "r+b", buffering=0)

    def write(self, name: str, text: str) -> None:
        """Write a whole file and hand it over; half of one is taken away again.

        Raises:
            OSError: the disk is full, or the directory is not writable.
        """
        with self.create(name) as file:
            view = memoryview(text.encode("utf-8", "backslashreplace"))
            try:
                while view:
                    view = view[file.write(view) :]
            except OSError:
                os.unlink(name, dir_fd=self._descriptor)
                raise
            self._give(file.fileno())

    def settle(self, name: str, file: BinaryIO) -> None:
        """Hand over what was written to ``file``, under ``name`` even if somebody moved it.

        Raises:
            OSError: the disk is full, or the directory is not writable.
        """
        try:
            there = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is not None and os.path.samestat(there, os.fstat(file.fileno())):
            self._give(file.fileno())
            return
        file.seek(0)
        with self.create(name) as copy:
            shutil.copyfileobj(file, copy)
            self._give(copy.fileno())

    def _give(self, target: int | Path) -> None:
        if os.geteuid() == 0 and self._owner.uid != 0:
            os.chown(target, self._owner.uid, self._owner.gid)


__all__ = ["JOURNAL", "ReportDir"]
