# SPDX-License-Identifier: MIT
"""Stands for the runner's worker in the virtual machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable

from leakstop.act.cgroup import CommandCgroup

_PIDFD_GETFD = 438  # <asm-generic/unistd.h>


class Worker:
    """A process in the guarded cgroup, each of whose children is a step."""

    def __init__(self, group: CommandCgroup) -> None:
        self._socket, self._other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with socket.socket() as own:
            self._own = own.fileno()
            self.pid = os.fork()
            if self.pid == 0:
                group.enter()
                while True:
                    self._step(self._other.recv(4096).decode())

    def socket(self) -> socket.socket:
        """A socket that it has open since before the guard."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(os.pidfd_open(self.pid)) as process:
            return socket.socket(fileno=libc.syscall(_PIDFD_GETFD, process.fileno(), self._own, 0))

    def _step(self, message: str) -> None:
        name, _, code = message.partition("\n")
        child = os.fork()
        if child == 0:
            program = [sys.executable, "-c", code]
            os.execve(sys.executable, program, {**os.environ, "GITHUB_ACTION": name})
        self._other.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())

    def run(self, name: str, code: str, meanwhile: Callable[[], object]) -> int:
        """Run ``code`` in a step with this id; return its exit code."""
        self._socket.send(f"{name}\n{code}".encode())
        while True:
            meanwhile()
            with contextlib.suppress(BlockingIOError):
                return int(self._socket.recv(16, socket.MSG_DONTWAIT))


__all__ = ["Worker"]
