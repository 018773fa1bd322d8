# SPDX-License-Identifier: MIT
"""A process was moved out of the cgroup that is guarded, or born outside of it.

Why: what it does there nobody sees or denies.
Sees: moves and clone3, by whoever makes them; where one command or one cgroup is guarded.
Quiet when: the whole machine is guarded, as by the action: nothing is outside of that.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="left-the-guard",
    title="A process left the guard",
    severity=Severity.HIGH,
    needs=(Tamper,),
    incident="None that is known; every guard of one cgroup can be left so by root",
    since="0.1.0",
)


class LeftTheGuard(Detector[Tamper]):
    """Reports it once for each program, step and destination."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick is not Trick.CGROUP:
            return
        yield told(
            META,
            event,
            context,
            what="It is in another cgroup now: what it and its children do there is neither seen "
            "nor denied.",
            what_to_do="Treat what this report does not show as unknown. If a service manager has "
            "to move processes, guard the machine (`leakstop start`) and not the command.",
        )
