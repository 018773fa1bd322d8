# SPDX-License-Identifier: MIT
"""Reads a ring buffer, into which programs write records."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from leakstop.bpf.libbpf import BpfError, Library, Map, Sample

_BATCH = 1024
"""Records handed over at a time: a burst must fill the kernel's ring, not this process's memory."""


class Ring:
    """Reads a ring buffer. ``on_record`` gets the address and size of each record."""

    def __init__(
        self, library: Library, source: Map, on_record: Callable[[int, int], None]
    ) -> None:
        self._library = library
        self._on_record = on_record
        self._failure: Exception | None = None
        self._taken = 0
        self._sample = Sample(self._on_sample)  # kept alive as long as libbpf may call it
        self._handle = library.pointer("ring_buffer__new", source.fd, self._sample, None, None)

    def _on_sample(self, _context: int, data: int, size: int) -> int:
        try:
            self._on_record(data, size)
        except Exception as error:  # noqa: BLE001 - must not cross C; raised again in consume()
            self._failure = error
            return -1
        # A negative number ends ring_buffer__consume() behind this record; the ring stays readable.
        self._taken += 1
        return -1 if self._taken >= _BATCH else 0

    def fileno(self) -> int:
        """Becomes readable when there are records."""
        return self._library.call("ring_buffer__epoll_fd", self._handle)

    def consume(self) -> None:
        """Hand over what is there: a batch of it at most."""
        self._taken = 0
        result = int(self._library._lib.ring_buffer__consume(self._handle))
        if self._taken >= _BATCH:
            result = 0
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if result < 0 and -result != errno.EINTR:
            raise BpfError(f"the ring could not be read: {os.strerror(-result)}")

    def close(self) -> None:
        """Stop reading."""
        if self._handle:
            self._library._lib.ring_buffer__free(self._handle)
            self._handle = 0


__all__ = ["Ring"]
