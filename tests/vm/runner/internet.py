# SPDX-License-Identifier: MIT
"""What the servers outside of this machine got, as a serial line tells it."""

from __future__ import annotations

import json
import tty
from pathlib import Path

from lab.collector import Collector, Connection

_LINE = Path("/dev/ttyS1")


class Internet:
    """The other end of the wire: ``vm.internet``."""

    def __init__(self) -> None:
        self._line = _LINE.open("r+b", buffering=0)
        tty.setraw(self._line.fileno())

    @property
    def home(self) -> Collector:
        """Where a secret may go (``home.test``)."""
        return self._host("home")

    @property
    def other(self) -> Collector:
        """Any other host (``other.test``)."""
        return self._host("other")

    @property
    def collector(self) -> Collector:
        """The thief's (``collector.test``, any name below it, and a bare address)."""
        return self._host("collector")

    def _host(self, name: str) -> Collector:
        self._line.write(f"{name}\n".encode())
        answer = bytearray()
        while not answer.endswith(b"\n"):
            answer += self._line.read(4096)
        host = Collector(name)
        for told in json.loads(answer):
            seen = Connection(told["transport"], told["local"], told["peer"])
            for part in ("wire", "plain", "message"):
                getattr(seen, part).extend(bytes.fromhex(told[part]))
            host.connections.append(seen)
        return host


__all__ = ["Internet"]
