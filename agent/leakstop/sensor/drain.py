# SPDX-License-Identifier: MIT
"""Takes what waits at a descriptor that is read without waiting."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

_BUFFER = 1 << 16
_ROUNDS = 64
"""Reads at a time: whoever gives the kernel something to tell without end must not keep the agent
from all else."""


def drain(descriptor: int) -> Iterator[bytes]:
    """What waits there, a read at a time, each of whole records.

    Raises:
        OSError: it cannot be read.
    """
    for _ in range(_ROUNDS):
        try:
            data = os.read(descriptor, _BUFFER)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR):
                raise
            return
        yield data


__all__ = ["drain"]
