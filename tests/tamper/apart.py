# SPDX-License-Identifier: MIT
"""Work in namespaces of its own: what it mounts, and what it does to the network, ends with it."""

from __future__ import annotations

import ctypes
import os
import traceback
from collections.abc import Callable

from lab.namespace import CLONE_NEWNET, CLONE_NEWNS, MS_REC

_MS_PRIVATE = 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def apart(work: Callable[[], None]) -> None:
    """Run ``work`` in a child with a network and mounts of its own; what it asserts must hold."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            if _libc.unshare(CLONE_NEWNS | CLONE_NEWNET) or _libc.mount(
                None, b"/", None, MS_REC | _MS_PRIVATE, None
            ):
                raise OSError(ctypes.get_errno(), "no namespaces")
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent says it
            os.write(writing, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        failure = said.read()
    os.waitpid(child, 0)
    assert not failure, failure
