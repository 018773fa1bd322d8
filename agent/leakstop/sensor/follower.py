# SPDX-License-Identifier: MIT
"""A part of the kernel sensor that follows something of its own: files, libraries, payloads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from leakstop.model.event import Event


class Follower(Protocol):
    """Sees every event, may say more, and is asked again whenever the sensor wakes.

    None of its methods raises: what it cannot do it says in an event, or in a note of
    ``Started``.
    """

    def start(self) -> tuple[str, ...]:
        """Begin, once the programs are attached; return what it cannot see, in whole sentences."""

    def wake(self, epoll: int) -> None:
        """Register with ``epoll`` what has to wake the sensor."""

    def see(self, event: Event) -> Iterable[Event]:
        """Take in an event; return what follows from it."""

    def follow(self) -> Iterable[Event]:
        """Return what happened since."""

    def close(self) -> None:
        """Let go of everything; may be called more than once."""


__all__ = ["Follower"]
