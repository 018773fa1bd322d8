# SPDX-License-Identifier: MIT
"""The job changed sudoers, PAM, polkit, or the library that every program loads.

Why: what a job leaves there outlives it on a self-hosted runner.
Sees: who wrote, replaced or removed such a file.
Quiet when: a service of the machine did it.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="privileges-changed",
    title="The job changed who may become root",
    severity=Severity.MEDIUM,
    needs=(Tamper,),
    incident="Shai-Hulud 2, November 2025: sudoers written from a privileged container",
    since="0.1.0",
)


class PrivilegesChanged(Detector[Tamper]):
    """Reports it once for each program, step and thing that was touched."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick is not Trick.PRIVILEGES or context.service:
            return
        preload = event.what.endswith("ld.so.preload")
        yield told(
            META,
            event,
            context,
            what=f"It changed {event.what}, as root.",
            what_to_do=(
                "Every program loads what is named there. Treat the machine as taken over."
                if preload
                else "Installing packages does this, too. On a machine that is used again, compare "
                "the file with the one before; `lockdown: [sudo]` keeps a job from it."
            ),
            severity=Severity.HIGH if preload else None,
        )
