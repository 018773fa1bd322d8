# SPDX-License-Identifier: MIT
"""What wakes the sensor: it waits on the ring's own epoll instance, and others join that one."""

from __future__ import annotations

import os
import select
from typing import Protocol, Union


class HasDescriptor(Protocol):
    """A socket, a file, or what stands for one."""

    def fileno(self) -> int:
        """Its descriptor."""


def join(epoll: int, *sources: Union[int, HasDescriptor], events: int = select.EPOLLIN) -> None:
    """Let the epoll instance ``epoll``, which stays its owner's, wake up for ``sources``, too."""
    with select.epoll.fromfd(os.dup(epoll)) as joined:
        for source in sources:
            joined.register(source, events)


__all__ = ["join"]
