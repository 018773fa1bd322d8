# SPDX-License-Identifier: MIT
"""What the engine asks the world to do. Each is safe to carry out twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process that carries a secret to a wrong place.

    The kernel has refused it already, unless it was found too late.
    """

    pid: int
    start_ns: int
    """When it began, so that a reused pid is spared; 0 if that was not learned."""
    why: str
    """For the log; holds no secret."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End a connection, so that nothing more follows and nobody waits.

    The kernel lets nothing of it pass any more, or a secret was found on it too late.
    """

    cookie: int
    """The socket's; the kernel gives none twice."""
    pid: int
    """Who uses it, and so in which network namespace to look first."""


Command = Union[Kill, Cut]

__all__ = ["Command", "Cut", "Kill"]
