# SPDX-License-Identifier: MIT
"""What is seen of containers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerSeen:
    """A process was put into a container. Said again when its engine has told what it is called."""

    ts_ns: int
    pid: int
    container: str
    """The first 16 digits of its id."""
    name: str = ""
    """As the engine calls it (secrets masked); empty if it was not asked or does not say."""
    image: str = ""
    names: tuple[str, ...] = ()
    """All that it is called in a policy: those, and its image without tag or digest."""
    asker: int = 0
    """The process whose request started it; 0 if that was not seen, so its step is unknown."""
    first: bool = True
    """Its first process; else one that was let in later (``docker exec``)."""
    stays: bool = False
    """No engine's process: it belongs to whom it belonged before (Podman has no daemon)."""


@dataclass(frozen=True, slots=True)
class ContainerAsked:
    """A process asked an engine for a container that is more than one."""

    ts_ns: int
    pid: int
    image: str
    powers: tuple[str, ...]
    """What it reaches of the machine, in words: ``privileged``, ``the host's network``."""


__all__ = ["ContainerAsked", "ContainerSeen"]
