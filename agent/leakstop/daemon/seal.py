# SPDX-License-Identifier: MIT
"""Proves that a file holds what was appended to it, and nothing else.

The proof is kept in a page that an agent shares with its supervisor, so the next agent has it,
whatever was done to the file meanwhile. A file's times prove nothing: two writes may have the same.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import struct

_DIGEST = 32
_SLOT = struct.Struct(f"=Q{_DIGEST}s")
_DONE, _BEGUN = 0, 64
"""Places in the page: what is in the file, and what is being written to it."""
_UNKNOWN = bytes(_DIGEST)
_PIECE = 1 << 20


class Seal:
    """Of one file, which nobody else may write to."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor``: open for writing, empty."""
        self._descriptor = descriptor
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        status = os.fstat(descriptor)
        self.kept = stat.S_ISREG(status.st_mode)
        """Whether it can be proved at all."""
        self._hash: hashlib.blake2b | None = _fresh() if not status.st_size else None
        self._next = self._hash
        self._size = status.st_size
        self._note(_BEGUN, self._size, self._hash)
        self._note(_DONE, self._size, self._hash)

    @property
    def size(self) -> int:
        """Bytes that the file has to have."""
        return self._size

    @property
    def proves(self) -> bool:
        """Whether more than its size can be compared."""
        return self.kept and self._hash is not None

    def begin(self, data: bytes) -> None:
        """``data`` is about to be appended."""
        self._next = None if self._hash is None else self._hash.copy()
        if self._next is not None:
            self._next.update(data)
        self._note(_BEGUN, self._size + len(data), self._next)

    def done(self, size: int) -> None:
        """It was appended."""
        self._size, self._hash = size, self._next
        self._note(_DONE, size, self._hash)

    def give_up(self) -> None:
        """The file is another one by now: from here on only its size tells."""
        self._size, self._hash = os.fstat(self._descriptor).st_size, None
        self._note(_BEGUN, self._size, None)
        self._note(_DONE, self._size, None)

    def holds(self) -> bool:
        """Whether the file holds what was appended, byte for byte; reads all of it."""
        if not self.kept or self._hash is None:
            return True
        found = self._hash_of(self._size)
        return found is not None and found.digest() == self._hash.digest()

    def take_over(self) -> str:
        """Go on where another process has stopped; return how somebody else changed the file.

        What is behind what that process has written is cut off: it may have been killed while it
        wrote, or somebody has added to it.
        """
        if not self.kept:
            return ""
        there = os.fstat(self._descriptor).st_size
        slots = [_SLOT.unpack_from(self._page, place) for place in (_BEGUN, _DONE)]
        for size, digest in slots:
            found = self._hash_of(size) if there >= size else None
            if found is not None and digest in (found.digest(), _UNKNOWN):
                added = there > max(each for each, _ in slots)
                os.ftruncate(self._descriptor, size)
                self._size = size
                self._hash = self._next = None if digest == _UNKNOWN else found
                self._note(_BEGUN, size, self._hash)
                self._note(_DONE, size, self._hash)
                return "written to" if added else ""
        self.give_up()
        return "cut short" if there < slots[1][0] else "written to"

    def _hash_of(self, size: int) -> hashlib.blake2b | None:
        """Of the first ``size`` bytes; ``None`` if there are fewer."""
        found = _fresh()
        with open(f"/proc/self/fd/{self._descriptor}", "rb") as file:  # noqa: PTH123 - a descriptor
            while size:
                piece = file.read(min(size, _PIECE))
                if not piece:
                    return None
                found.update(piece)
                size -= len(piece)
        return found

    def _note(self, place: int, size: int, found: hashlib.blake2b | None) -> None:
        _SLOT.pack_into(self._page, place, size, found.digest() if found else _UNKNOWN)


def _fresh() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST)


__all__ = ["Seal"]
