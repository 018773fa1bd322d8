# SPDX-License-Identifier: MIT
"""Keeps the answer to a process's first hello from it while its files are looked at.

``bpf/image.bpf.h`` is the other side: it notes each program that starts, and drops what answers
its hello until that is released here, half a second at most.
"""

from __future__ import annotations

import struct
from typing import Protocol

from leakstop.sensor.tls.mappings import Mapped

_LIBRARY = b".so"
_IMAGE = struct.Struct("<QQ")
"""``struct image``"""
_LOOKED = struct.Struct("<QI4x")
"""``struct looked_key``"""
_LOOKING, _YES = bytes(_LOOKED.size), b"\1"


class Table(Protocol):
    """A map of the kernel's."""

    def update(self, key: bytes, value: bytes) -> None:
        """Set one entry."""


class Gate:
    """Tells the kernel what was looked at."""

    def __init__(self, images: Table, looked: Table) -> None:
        self._images = images
        self._looked = looked
        self._held: set[tuple[int, int]] = set()

    def open(self) -> None:
        """From now on somebody looks."""
        self._looked.update(_LOOKING, _YES)

    def hold(self, mapped: Mapped) -> None:
        """A file is looked at for the first time: its process is to wait for that."""
        image = _IMAGE.pack(mapped.inode, mapped.ts_ns)
        self._images.update(mapped.pid.to_bytes(4, "little"), image)
        self._held.add((mapped.inode, mapped.pid))

    def release(self, mapped: Mapped) -> None:
        """A file was looked at. Of libraries the kernel knows only those that were held."""
        if _LIBRARY not in mapped.path or (mapped.inode, mapped.pid) in self._held:
            self._looked.update(_LOOKED.pack(mapped.inode, mapped.pid), _YES)
            self.open()  # the kernel may have given up on us
            self._held.discard((mapped.inode, mapped.pid))


__all__ = ["Gate", "Table"]
