# SPDX-License-Identifier: MIT
"""Does what the engine orders: kills at once, cuts connections together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from leakstop.act import cut as cutter
from leakstop.act import kill as killer
from leakstop.engine.commands import Command, Cut


class Orders:
    """What is still to be done."""

    def __init__(self) -> None:
        self._to_cut: dict[int, int] = {}

    def obey(self, commands: Iterable[Command]) -> None:
        """Kill, and note what is to be cut."""
        for command in commands:
            if isinstance(command, Cut):
                self._to_cut[command.cookie] = command.pid
            else:
                killer.kill(command.pid, command.start_ns)

    def cut(self) -> None:
        """Cut what is to be cut: finding sockets takes as long for many as for one."""
        sockets, self._to_cut = self._to_cut, {}
        # Uncut it would only be waited for in vain: no reason to end the guard.
        with contextlib.suppress(OSError, RuntimeError):
            cutter.cut(sockets)


__all__ = ["Orders"]
