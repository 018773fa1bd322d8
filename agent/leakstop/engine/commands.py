# SPDX-License-Identifier: MIT
"""What the engine asks the world to do. Each is safe to carry out twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process that carries a secret to a wrong place; the kernel has refused it already."""

    pid: int
    start_ns: int
    """When it began, so that a reused pid is spared; 0 if that was not learned."""
    why: str
    """For the log; holds no secret."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End a connection of which the kernel lets nothing pass any more, so that nobody waits."""

    cookie: int
    """The socket's; the kernel gives none twice."""
    pid: int
    """Who uses it, and so in which network namespace to look first."""


Command = Union[Kill, Cut]

__all__ = ["Command", "Cut", "Kill"]
