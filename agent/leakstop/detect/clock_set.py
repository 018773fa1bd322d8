# SPDX-License-Identifier: MIT
"""The machine's clock was set.

Why: a clock that is wrong makes expired certificates and tokens valid, and logs hard to compare.
Sees: clock_settime, settimeofday, and steps by adjtimex and clock_adjtime.
Quiet when: the clock is only made to go a little faster or slower, as time services do.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="clock-set",
    title="The machine's clock was set",
    severity=Severity.MEDIUM,
    needs=(Tamper,),
    incident="None that is known; a way to make an expired certificate valid",
    since="0.1.0",
)


class ClockSet(Detector[Tamper]):
    """Reports it once for each program and step."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick is not Trick.CLOCK:
            return
        yield told(
            META,
            event,
            context,
            what=f"It set the time of the whole machine ({event.route}). The times in this report "
            "are not affected: they are counted from the machine's start.",
            what_to_do="Nothing, if a test needs another time. Otherwise find out why: libfaketime "
            "does the same for one program.",
        )
