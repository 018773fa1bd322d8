# SPDX-License-Identifier: MIT
"""The control protocol: one JSON object a line, over a unix stream socket.

========  =========================================  =================================
ask       with                                       answer
========  =========================================  =================================
status    –                                          what is guarded, by which sensor
arm       ``request`` (daemon/request.py), ``key``   ``mode`` in force, ``note``
words     ``words`` (report/vocabulary.py), ``key``  nothing more
report    –                                          ``report``, as it stands now
finish    ``key``                                    ``report``, final; the agent ends
========  =========================================  =================================

Every answer has ``ok``; a refusal has ``error`` with the parts of a ``LeakstopError``.
Whoever connects is identified by the kernel (SO_PEERCRED), never by what it says.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from leakstop.errors import CoverageError, ExitCode, LeakstopError

ANSWER_S = 60.0
"""Patience with an answer: arming loads programs and tables."""

_CHUNK = 1 << 16
_LARGEST_MESSAGE = 64 * 1024 * 1024
_UCRED = struct.Struct("=iII")
_SO_PEERPIDFD = 77
"""<asm-generic/socket.h>"""


class Channel:
    """A connected socket that carries messages."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._pending = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message.

        Raises:
            OSError: the peer is gone, or does not read.
        """
        self.socket.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """Wait for one message; ``None`` when the peer hung up.

        Raises:
            OSError: nothing came within the socket's timeout.
            ValueError: the peer sent no JSON object.
        """
        while True:
            messages = self.take(self.socket.recv(_CHUNK))
            if messages is None:
                return None
            if messages:
                return messages[0]

    def take(self, data: bytes) -> list[dict[str, Any]] | None:
        """Add received bytes and return the messages they complete; ``None`` at the end.

        Raises:
            ValueError: no JSON object, or one that is too long.
        """
        if not data:
            return None
        # What waited already is not searched again: a message may have megabytes.
        end, *beginnings = data.split(b"\n")
        self._pending += end
        if len(self._pending) > _LARGEST_MESSAGE:
            raise ValueError("message too long")
        lines = []
        for beginning in beginnings:
            lines.append(self._pending)
            self._pending = bytearray(beginning)
        return [_message(line) for line in lines]

    def ask(self, question: str, **fields: Any) -> dict[str, Any]:
        """Send a question and return the answer.

        Raises:
            LeakstopError: as the agent said, or that it does not answer.
        """
        self.put(question, **fields)
        return self.answer()

    def put(self, question: str, **fields: Any) -> None:
        """Send a question whose answer is taken later.

        Raises:
            CoverageError: nobody is there.
        """
        try:
            self.send({"ask": question, **fields})
        except OSError as error:
            raise _silent(str(error)) from error

    def answer(self) -> dict[str, Any]:
        """Take the answer to a question that was put.

        Raises:
            LeakstopError: as the agent said, or that it does not answer.
        """
        try:
            answer = self.receive()
        except (OSError, ValueError) as error:
            raise _silent(str(error)) from error
        if answer is None:
            raise _silent("it hung up")
        if not answer.get("ok"):
            raise error_from_json(answer.get("error", {}))
        return answer

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def _message(line: bytearray) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def peer_uid(connection: socket.socket) -> int:
    """User id of the process at the other end, as the kernel recorded it at connect."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(raw)
    return int(uid)


def peer_pid(connection: socket.socket) -> int:
    """Process at the other end, as the kernel recorded it at connect."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[0])


@contextlib.contextmanager
def peer_pidfd(connection: socket.socket) -> Iterator[int]:
    """A pidfd of that process; -1 where the kernel gives none (before Linux 6.5)."""
    try:
        descriptor = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        descriptor = -1
    try:
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def may_command(uid: int, owner_uid: int, key: str, finish_key: str) -> bool:
    """Whether a peer may re-arm or finish the guard.

    Root may. The user who started the agent may, too; but the job that is guarded usually
    runs as the same user, so the one who armed it can set a key that only it knows.
    """
    if uid == 0:
        return True
    return uid == owner_uid and hmac.compare_digest(key.encode(), finish_key.encode())


def error_to_json(error: LeakstopError) -> dict[str, Any]:
    """The parts of ``error``, for the other side."""
    return {
        "exit": int(error.exit_code),
        "what": error.what,
        "why": error.why,
        "fix": error.fix,
        "where": error.where,
        "text": str(error),
    }


def error_from_json(parts: Mapping[str, Any]) -> LeakstopError:
    """Build the error that the other side met: same exit code, same text."""
    error = RelayedError(
        str(parts.get("what", "the agent refused without a reason")),
        why=str(parts.get("why", "")),
        fix=str(parts.get("fix", "")),
        where=str(parts.get("where", "")),
    )
    error.exit_code = ExitCode(parts.get("exit", ExitCode.INTERNAL))
    error.text = str(parts.get("text", ""))
    return error


class RelayedError(LeakstopError):
    """An error of another process of ours, with that process's exit code and text."""

    text = ""

    def __str__(self) -> str:
        return self.text or super().__str__()


def _silent(why: str) -> CoverageError:
    return CoverageError(
        "the agent does not answer",
        why=why,
        fix="treat what ran as unproven",
    )


__all__ = [
    "ANSWER_S",
    "Channel",
    "RelayedError",
    "error_from_json",
    "error_to_json",
    "may_command",
    "peer_pid",
    "peer_pidfd",
    "peer_uid",
]
