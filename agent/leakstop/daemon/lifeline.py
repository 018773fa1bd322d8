# SPDX-License-Identifier: MIT
"""What ties an agent to the process that starts it again: its end of the line.

The agent shows that it goes on by writing the time into a shared page, and hands over what its
successor needs and cannot read anywhere: the request with the values of the secrets, and the
values that it finds.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from leakstop.daemon.control import Channel
from leakstop.daemon.request import ArmRequest, request_to_json, secret_to_json
from leakstop.errors import UsageError
from leakstop.secrets.inventory import Secret
from leakstop.sensor.timer import now_ns

PATIENCE_S = 10.0
"""Longest silence that needs no explanation: a full disk or a busy machine may take so long."""
ARMING_S = 60.0
"""As long as arming may take."""
_SEND_S = 2.0
_BEAT = struct.Struct("=QQ")


@dataclass(slots=True)
class Estate:
    """What an agent leaves to the one that is started after it. Values of secrets are in it."""

    request: dict[str, Any] = field(default_factory=dict)
    """The guard in force; empty if there is none."""
    number: int = 0
    """Which one of this run directory it is."""
    found: list[list[dict[str, Any]]] = field(default_factory=list)
    """Secrets that were found, each time's together."""
    worker: int = -1
    """pidfd of the runner's worker."""
    pinned: dict[str, int] = field(default_factory=dict)
    """Descriptors of maps and links, by the names of their pins."""
    since_ns: int = 0
    """When the agent was last seen."""
    why: str = ""
    """Why it is not there any more."""


class Pulse:
    """A page that agent and supervisor share."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def beat(self, patience_s: float) -> None:
        """Note that one goes on, and within which time one will say so again."""
        _BEAT.pack_into(self._page, 0, now_ns(), int(patience_s * 1e9))

    @property
    def last_ns(self) -> int:
        """When that was."""
        last, _ = _BEAT.unpack_from(self._page)
        return int(last)

    @property
    def overdue(self) -> bool:
        """Whether the time is over."""
        last, patience = _BEAT.unpack_from(self._page)
        return bool(now_ns() - last > patience)


class Lifeline:
    """The agent's end. Without another end nothing happens: then nobody starts it again."""

    def __init__(self, connection: socket.socket | None = None, pulse: Pulse | None = None) -> None:
        self._channel = Channel(connection) if connection is not None else None
        if connection is not None:
            connection.settimeout(_SEND_S)
        self._pulse = pulse or Pulse()
        self._gaps: list[tuple[int, str]] = []
        self._let_go = False
        self.estate = Estate()
        """What an agent before this one has left."""
        self.beat()

    def fileno(self) -> int:
        """Readable when the supervisor has something to say; -1 without one."""
        return self._channel.socket.fileno() if self._channel else -1

    def beat(self, patience_s: float = PATIENCE_S) -> None:
        """Go on. Whoever was held up with its supervisor notices it here."""
        if self._pulse.last_ns and self._pulse.overdue:
            self._gaps.append((self._pulse.last_ns, "the agent was held up"))
        self._pulse.beat(patience_s)

    def arming(self, request: ArmRequest, number: int) -> None:
        """A guard is about to be put in force."""
        self.beat(ARMING_S)
        self._tell("arming", request=request_to_json(request), number=number)

    def armed(self, *, done: bool) -> None:
        """It is in force, or could not be put in force."""
        self._tell("armed", done=done)
        self._wait()
        self.beat()

    def found(self, secrets: Sequence[Secret]) -> None:
        """Secrets were found."""
        self._tell("found", secrets=[secret_to_json(secret) for secret in secrets])

    def attached(self) -> None:
        """What is attached has changed."""
        self._tell("attached")

    def ending(self) -> None:
        """The guard is about to be taken down: nobody goes on with it."""
        self.beat(ARMING_S)
        self._tell("ending")
        self._wait()

    def gaps(self) -> list[tuple[int, str]]:
        """Since when and why the agent was away, as far as it was not told yet."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def hear(self) -> bool:
        """Take in what the supervisor says; ``False`` if it is gone."""
        assert self._channel is not None
        try:
            messages = self._channel.take(self._channel.socket.recv(1 << 16))
        except (OSError, ValueError):
            messages = None
        for message in messages or ():
            if message["what"] == "away":
                self._gaps.append((int(message["since_ns"]), str(message["why"])))
            else:
                self._let_go = True
        return messages is not None

    def cut(self) -> None:
        """Go on without a supervisor."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _wait(self) -> None:
        """Until the supervisor has let go of what is no longer in force: it holds links, too."""
        self._let_go = False
        while self._channel is not None and not self._let_go and self.hear():
            pass

    def _tell(self, what: str, **fields: Any) -> None:
        if self._channel is not None:
            try:
                self._channel.send({"what": what, **fields})
            except OSError:  # it is gone, or stopped; half a message would spoil the next one
                with contextlib.suppress(OSError):
                    self._channel.socket.shutdown(socket.SHUT_RDWR)


def worker_pidfd(pid: int) -> int:
    """A pidfd of the runner's worker.

    Raises:
        UsageError: it is not there.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        raise UsageError(
            f"the worker, process {pid}, is not there: {error.strerror}",
            fix="name a running process with `--worker`",
        ) from error


def spare_from_oom() -> None:
    """Let the kernel end any other process before this one when memory is short."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
            file.write("-1000")
    except OSError:
        return  # only root may; without it the supervisor starts the agent again


__all__ = [
    "ARMING_S",
    "PATIENCE_S",
    "Estate",
    "Lifeline",
    "Pulse",
    "spare_from_oom",
    "worker_pidfd",
]
