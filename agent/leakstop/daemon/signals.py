# SPDX-License-Identifier: MIT
"""SIGTERM as something to be read. Ctrl-C is for the command, not for the guard."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def sigterm() -> Iterator[socket.socket]:
    """A socket that becomes readable when SIGTERM comes."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: None),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
    }
    wakeup = signal.set_wakeup_fd(writing.fileno())
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()


__all__ = ["sigterm"]
