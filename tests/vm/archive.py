# SPDX-License-Identifier: MIT
"""An initial file system in memory: busybox, and what a machine needs besides."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BUSYBOX = Path("/bin/busybox")


class Tree:
    """The files that go into it."""

    def __init__(self, root: Path, init: str) -> None:
        self.root = root
        for directory in ("proc", "sys", "dev", "tmp", "run", "sbin"):
            (root / directory).mkdir()
        self.copy(_BUSYBOX)
        (root / "bin/sh").symlink_to("busybox")
        self.write("init", init.encode())
        (root / "init").chmod(0o755)

    def write(self, name: str, content: bytes) -> None:
        """Make a file."""
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def copy(self, path: Path) -> None:
        """Copy a file of this machine to where it is here."""
        target = self.root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(path, target)  # follows links: the name is what the loader looks for

    def copy_with_libraries(self, path: Path) -> None:
        """Copy a program or a library, and what it is linked with."""
        self.copy(path)
        listing = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False)
        for library in re.findall(r"(/\S+)", listing.stdout):
            self.copy(Path(library))


@contextmanager
def archive(target: Path, init: str) -> Iterator[Tree]:
    """Make an archive at ``target`` of what is put into the tree; ``init`` is its only program."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Tree(Path(scratch), init)
        yield tree
        names = b"\0".join(bytes(p.relative_to(tree.root)) for p in sorted(tree.root.rglob("*")))
        with target.open("wb") as packed:
            subprocess.run(
                ["cpio", "--quiet", "-0", "-o", "-H", "newc"],
                input=names,
                stdout=packed,
                cwd=tree.root,
                check=True,
            )


__all__ = ["Tree", "archive"]
