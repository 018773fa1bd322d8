# SPDX-License-Identifier: MIT
"""Something that a person should know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from leakstop.model.channel import Channel, Library, Tie
from leakstop.model.process import ProcessView


class Severity(str, Enum):
    """How bad, mildest first."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Position on the ladder, 0 is mildest."""
        return list(Severity).index(self)

    def reaches(self, threshold: Severity) -> bool:
        """Whether this is at or above ``threshold``."""
        return self.rank >= threshold.rank


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, counted once however often it was seen."""

    id: str
    """The detector's kebab-case id; those about secrets begin with ``secret-``."""
    severity: Severity
    title: str
    """A constant of the detector: it never holds observed text."""
    process: ProcessView
    destination: str
    """``host:port``, ``ip:port``, or the name that was asked for."""
    secret: str
    """Name of the secret, or empty."""
    encoding: str
    """How the secret was written, or empty."""
    step: str
    action_taken: str
    """What was done, as one plain sentence."""
    what_to_do: str
    ts_ns: int
    """First seen, boot clock."""
    count: int = 1
    bytes_left: int | None = None
    """Bytes of the secret known to have left (0 when stopped before the first); None if unknown."""
    rule: str = ""
    """The rule that decided, as ``text (file:line)``, or empty."""
    failing: bool = True
    """Whether it counts against ``fail-on``; a quiet denial and ``leak: warn`` do not."""
    size: int = 0
    """Bytes of the whole secret, which ``bytes_left`` is a part of; 0 if unknown."""
    channel: Channel | None = None
    """What the secret was in, if it was in what the process sent."""
    library: Library = Library.NONE
    """Whose function was given the plaintext."""
    tie: Tie | None = None
    """How the write is known to go to ``destination``."""
