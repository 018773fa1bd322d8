# SPDX-License-Identifier: MIT
"""Keeps the values of secrets in this process: out of swap, core dumps and other processes.

Best effort, and each part by itself: root can read all memory anyway, and Python makes copies of
what it works with.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterable

# <sys/prctl.h>, <sys/mman.h>
_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

NOTE = (
    "The agent's memory could not be locked ({}): values of secrets may have been written to swap "
    "space."
)

_HEADER = bytes.__basicsize__ - 1
"""Bytes of a ``bytes`` object in front of its data; its size counts a NUL behind it."""


def protect() -> str:
    """Protect this process; return what a report has to say of it, or nothing.

    Pages are locked as they are touched: locking all that is mapped would read in all of it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0:
        return ""
    return NOTE.format(os.strerror(ctypes.get_errno()))


def can_lock() -> bool:
    """Whether ``protect`` would lock memory here; tried in a child."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(1 if protect() else 0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def wipe(values: Iterable[bytes]) -> None:
    """Overwrite ``values``, which nobody may use any more. Copies elsewhere stay as they are."""
    for value in values:
        ctypes.memset(id(value) + _HEADER, 0, len(value))


__all__ = ["NOTE", "can_lock", "protect", "wipe"]
