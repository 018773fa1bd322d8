# SPDX-License-Identifier: MIT
"""Linux namespaces that are held by a descriptor and nothing else.

A namespace lives as long as something refers to it. Ours have no name below ``/run/netns``:
only a descriptor of this process, and the processes inside, refer to them. So whatever becomes
of this process, even ``kill -9``, the kernel takes the network down and nothing stays behind.

``unshare(2)`` and ``setns(2)`` act on the calling *thread*. So every piece of work inside a
namespace runs on a short-lived thread of its own, and the process as a whole never moves.
A child started there inherits the thread's namespaces: no ``ip netns exec`` is needed, which
would also have hidden the cgroup file system behind a new ``/sys``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# <linux/sched.h> and <linux/mount.h>
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
)


class Namespace:
    """A network namespace, with a mount namespace of its own when files are to be replaced."""

    def __init__(self, *, files: Mapping[str, Path] | None = None) -> None:
        """Make the namespace; ``files`` (place → content's file) are bound over the machine's.

        Processes outside go on seeing the machine's own files.

        Raises:
            OSError: not allowed (needs CAP_SYS_ADMIN), or a place in ``files`` does not exist.
        """
        self._mount: int | None = None
        self._net = -1
        self.id = 0
        """Inode of the network namespace: equal for all processes inside."""
        _on_a_thread(lambda: self._make(files or {}))

    def _make(self, files: Mapping[str, Path]) -> None:
        _check(_libc.unshare(CLONE_NEWNET | (CLONE_NEWNS if files else 0)), "unshare")
        if files:
            # Nothing that is mounted here may show outside.
            _check(_libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None), "mount /")
        for place, content in files.items():
            target = os.path.realpath(place)  # resolv.conf is a symbolic link on many systems
            bound = _libc.mount(os.fsencode(content), os.fsencode(target), None, MS_BIND, None)
            _check(bound, f"mount {target}")
        self._net = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if files:
            self._mount = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self.id = os.fstat(self._net).st_ino

    @property
    def path(self) -> str:
        """The namespace's file, for ``ip link … netns`` and ``nsenter --net=``."""
        return f"/proc/{os.getpid()}/fd/{self._net}"

    def call(self, work: Callable[[], T]) -> T:
        """Do ``work`` inside, on a thread of its own, and return what it returns."""

        def inside() -> T:
            _check(_libc.setns(self._net, CLONE_NEWNET), "setns")
            if self._mount is not None:
                # A thread that shares its working directory with others may not change mounts.
                _check(_libc.unshare(CLONE_FS), "unshare")
                _check(_libc.setns(self._mount, CLONE_NEWNS), "setns")
            return work()

        return _on_a_thread(inside)

    def processes(self) -> list[int]:
        """Ids of the processes inside. Ours, all of them: nobody else can have got in."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._has(pid)]

    def _has(self, pid: int) -> bool:
        try:
            return os.stat(f"/proc/{pid}/ns/net").st_ino == self.id
        except OSError:  # it has ended, or is a zombie
            return False

    def close(self) -> None:
        """End the processes inside and let go of the namespace."""
        if self._net < 0:
            return
        deadline = time.monotonic() + 5
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        for descriptor in (self._net, self._mount):
            if descriptor is not None:
                os.close(descriptor)
        self._net, self._mount = -1, None


def _on_a_thread(work: Callable[[], T]) -> T:
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="namespace") as pool:
        return pool.submit(work).result()


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
