# SPDX-License-Identifier: MIT
"""Debian's kernels for clouds, kept in ``build/vm``."""

from __future__ import annotations

import lzma
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vm.packages import Suite

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "vm"
_META_PACKAGE = "linux-image-cloud-amd64"


@dataclass(frozen=True)
class Kernel:
    """One kernel, unpacked."""

    directory: Path

    @property
    def image(self) -> Path:
        """What boots."""
        return next(self.directory.glob("boot/vmlinuz-*"))

    @property
    def modules(self) -> Path:
        """``/lib/modules/RELEASE``."""
        return next(self.directory.glob("lib/modules/*"))

    def module(self, name: str) -> bytes:
        """One module, ready for insmod(8)."""
        packed = next(self.modules.rglob(f"{name}.ko*"))
        return (lzma.decompress if packed.suffix == ".xz" else bytes)(packed.read_bytes())


def fetch(suite: str) -> Kernel:
    """Download the newest cloud kernel of ``suite``, unless it is here already."""
    packages = Suite(suite)
    package = packages.dependency(_META_PACKAGE, "linux-image-")
    kernel = Kernel(CACHE / package)
    if not kernel.directory.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            packages.unpack(package, Path(scratch, "kernel"))
            shutil.move(Path(scratch, "kernel"), kernel.directory)
    return kernel


__all__ = ["CACHE", "ROOT", "Kernel", "fetch"]
