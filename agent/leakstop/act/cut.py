# SPDX-License-Identifier: MIT
"""End connections that the kernel lets nothing pass on any more.

A packet that is refused is no error for whoever sent it: TCP would try again for minutes, and
the program would wait for an answer. Destroyed, the socket gives it ECONNABORTED at once.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import chain, islice
from pathlib import Path
from threading import Thread

from leakstop.bpf.sockdiag import SockDiag

_CLONE_NEWNET = 0x40000000
_MOST_NAMESPACES = 256
"""Searched for one batch: a job may make as many as it likes."""


def cut(sockets: Mapping[int, int]) -> frozenset[int]:
    """Destroy the TCP sockets with these cookies, each with the process that uses it.

    Returns the cookies of those that were there. A cookie is never given twice, so no other
    socket can be hit. A socket is in the network namespace in which it was made, mostly that
    of its process; but that may have ended, or have got it from elsewhere. Then the namespaces
    of all processes are searched: whoever waits for a socket is one of them.
    """
    if not sockets:
        return frozenset()
    found: set[int] = set()
    # setns(2) moves the calling thread: this one ends afterwards, and the agent never moves.
    thread = Thread(target=lambda: found.update(_search(sockets)), name="cut")
    thread.start()
    thread.join()
    return frozenset(found)


def refusal() -> str:
    """Say why connections cannot be ended on this machine; empty if they can."""
    with closing(SockDiag()) as diag:
        return diag.refusal()


def _search(sockets: Mapping[int, int]) -> frozenset[int]:
    left = frozenset(sockets)
    # No namespace is kept for the next time: a job's would outlive the job.
    for namespace in islice(_namespaces(sockets.values()), _MOST_NAMESPACES):
        with suppress(OSError):  # one that we may not enter
            _enter(namespace)
            with closing(SockDiag()) as diag:
                left -= diag.destroy(left)
        if not left:
            break
    return frozenset(sockets) - left


def _namespaces(pids: Iterable[int | str]) -> Iterator[int]:
    """Open the network namespaces of ``pids`` and then of every process, each once."""
    seen: set[int] = set()
    for pid in chain(pids, _processes()):
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # it has ended
        try:
            inode = os.fstat(descriptor).st_ino
            if inode not in seen:
                seen.add(inode)
                yield descriptor
        finally:
            os.close(descriptor)


def _processes() -> Iterator[str]:
    """Every process; /proc is read when the first one is asked for."""
    yield from (entry.name for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


__all__ = ["cut", "refusal"]
