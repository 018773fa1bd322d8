# SPDX-License-Identifier: MIT
"""Times of day as people read them: always UTC, always said so."""

from __future__ import annotations

from datetime import datetime, timezone


def clock(seconds: float) -> str:
    """Seconds since the epoch as ``02:11:09 UTC``."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%H:%M:%S} UTC"


def between(since_s: float, until_s: float) -> str:
    """A time with a beginning and an end, as ``from 02:11:09 UTC to 02:11:12 UTC (2.9 s)``."""
    return f"from {clock(since_s)} to {clock(until_s)} ({max(0.0, until_s - since_s):.1f} s)"


__all__ = ["between", "clock"]
