# SPDX-License-Identifier: MIT
"""Times as reports print them: always UTC, always said so."""

from __future__ import annotations

from datetime import datetime, timezone

from leakstop.model.clock import clock
from leakstop.model.report import Report


def iso(seconds: float) -> str:
    """Seconds since the epoch as ``2026-11-21T02:11:09.250Z``."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_of(report: Report, ts_ns: int) -> str:
    """A boot-clock time stamp of ``report`` as ``2026-11-21T02:11:09.250Z``."""
    return iso(report.wall_s(ts_ns))


def clock_of(report: Report, ts_ns: int) -> str:
    """A boot-clock time stamp of ``report`` as ``02:11:09 UTC``."""
    return clock(report.wall_s(ts_ns))
