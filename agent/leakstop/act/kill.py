# SPDX-License-Identifier: MIT
"""Kill exactly the process that was seen, never one that got its number later."""

from __future__ import annotations

import os
import signal
from enum import Enum
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Outcome(str, Enum):
    """What became of a kill."""

    KILLED = "killed"
    GONE = "gone"
    """It had already ended, or its number belongs to another process by now."""
    REFUSED = "refused"
    """The kernel did not allow it."""


def start_ticks(pid: int) -> int | None:
    """Return when ``pid`` started, in clock ticks since boot; ``None`` if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # Field 2 is the name in parentheses and may hold anything: count from the last one.
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def kill(pid: int, start_ns: int = 0) -> Outcome:
    """Send SIGKILL to ``pid`` if it is still the process that started at ``start_ns``.

    ``start_ns`` is boot-clock time as the kernel keeps it; 0 when it was not learned, then
    the number alone has to do (a leak under way outweighs the risk). The pidfd is opened
    before the check, so the number cannot change hands in between.
    """
    if pid <= 0:
        return Outcome.GONE
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return Outcome.GONE
    try:
        if start_ns and start_ticks(pid) != start_ns * _TICKS_PER_S // 1_000_000_000:
            return Outcome.GONE
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        return Outcome.GONE
    except PermissionError:
        return Outcome.REFUSED
    finally:
        os.close(descriptor)
    return Outcome.KILLED


__all__ = ["Outcome", "kill", "start_ticks"]
