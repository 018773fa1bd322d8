# SPDX-License-Identifier: MIT
"""What was not seen, and how the guard ended."""

from __future__ import annotations

from dataclasses import dataclass

REFUSALS = frozenset(
    {"addresses", "answers", "marks", "names", "names_of_steps", "owners", "plaintexts", "secrets"}
)
"""Counters (``Loss.where``) behind which nothing went unseen."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Something was not seen."""

    ts_ns: int
    where: str
    """Which counter, e.g. ``events`` or ``scratch``."""
    count: int
    """How many since the last ``Loss`` of this counter."""

    @property
    def missed(self) -> bool:
        """Whether something went unseen; else it was refused, or not looked into as deeply."""
        return self.where not in REFUSALS


@dataclass(frozen=True, slots=True)
class Gap:
    """The guard was not whole for a time."""

    ts_ns: int
    since_ns: int
    why: str
    """What happened, e.g. ``the agent was killed``."""
    undecided: bool = False
    """Programs were off: what they decide went undecided. Else the kernel went on deciding, and
    nobody recorded what."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The guard was taken down in order. A journal without it means that the agent died."""

    ts_ns: int


__all__ = ["REFUSALS", "Finished", "Gap", "Loss"]
