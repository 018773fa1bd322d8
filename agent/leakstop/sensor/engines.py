# SPDX-License-Identifier: MIT
"""Container engines of this machine: where they listen, and what they say of their containers.

Asked without waiting: an engine answers when it can, and it cannot while it starts what it is
asked about. What it says is the job's choice in good part, so it is bounded and only believed as
far as names go.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leakstop.sensor import proc
from leakstop.sensor.waking import join

_ENGINE = "dockerd"
_LISTENING = re.compile(
    "[0-9a-f]+: [0-9A-F]{8} [0-9A-F]{8} 00010000 [0-9A-F]{4} [0-9A-F]{2} +([0-9]{1,20}) (/.*)"
)
"""A line of /proc/net/unix with the flag ``__SO_ACCEPTCON``: inode and path."""
_ROOT = 0
_UCRED = struct.Struct("=iII")
_PATH_MAX = 107
_ANSWER_MAX = 4 << 20
"""An answer lists some kilobytes for each container."""
PATIENCE_S = 5.0


def sockets(root: Path = proc.PROC) -> list[str]:
    """Where the machine's engines listen, as paths that lead there whatever their root is."""
    found = []
    for pid in proc.pids(root):
        if proc.exe(pid, root).rpartition("/")[2] == _ENGINE and _is_roots(pid, root):
            held = proc.sockets(pid, root)
            paths = (path for inode, path in _listening(pid, root) if inode in held)
            found += [f"{root}/{pid}/root{path}" for path in paths]
    return [path for path in found if len(os.fsencode(path)) <= _PATH_MAX]


def _is_roots(pid: int, root: Path) -> bool:
    try:
        return (root / str(pid)).stat().st_uid == 0
    except OSError:
        return False


def _listening(pid: int, root: Path) -> Iterator[tuple[int, str]]:
    """Inode and path of the unix sockets that listen where ``pid`` is (proc(5)).

    A path may have a line break in it, so a line can be whatever somebody has made up.
    """
    try:
        text = (root / str(pid) / "net/unix").read_text(errors="surrogateescape")
    except OSError:
        return
    for line in text.split("\n")[1:]:
        if found := _LISTENING.fullmatch(line):
            yield int(found[1]), found[2]


class Question:
    """One request on its way to an engine."""

    def __init__(self, engine: str, path: str) -> None:
        """Ask for ``path`` (``/containers/json``).

        Raises:
            OSError: it cannot be asked now.
        """
        self._until_s = time.monotonic() + PATIENCE_S
        self._received = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(engine)
            if _peers_uid(self._socket) != _ROOT:
                raise PermissionError(errno.EPERM, "no engine of root's listens there", engine)
            # HTTP/1.0: the answer is whole, and ends with the connection.
            request = f"GET {path} HTTP/1.0\r\n\r\n".encode()
            if self._socket.send(request) != len(request):
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError:
            self._socket.close()
            raise

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up when there is an answer."""
        join(epoll, self._socket)

    def answer(self) -> tuple[bool, Any]:
        """Whether this is over, and what was said: parsed JSON, or ``None``."""
        try:
            while data := self._socket.recv(1 << 16):
                self._received += data
                if len(self._received) > _ANSWER_MAX:
                    return True, None
        except BlockingIOError:
            return time.monotonic() > self._until_s, None
        except OSError:
            return True, None
        return True, _body(bytes(self._received))

    def close(self) -> None:
        """Ask no more."""
        self._socket.close()


def _peers_uid(connection: socket.socket) -> int:
    """Of whoever listens at the other end, as the kernel recorded it."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[1])


def _body(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(None, 2)[1:2]
    if status != [b"200"]:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


__all__ = ["PATIENCE_S", "Question", "sockets"]
