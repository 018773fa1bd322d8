# SPDX-License-Identifier: MIT
"""The job loaded a BPF program of its own.

Why: such a program can redirect what the guard has judged, or hide a process: a rootkit's way.
Sees: programs loaded or attached by bpf(2), with their type and name.
Quiet when: it is a socket filter or a container's device rule, or a service of the machine that
was there before.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="bpf-loaded",
    title="The job loaded a BPF program",
    severity=Severity.MEDIUM,
    needs=(Tamper,),
    incident="IronWorm, June 2026: an eBPF rootkit that hid its processes and sockets",
    since="0.1.0",
)


class BpfLoaded(Detector[Tamper]):
    """Reports it once for each program, step and BPF program."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick is not Trick.PROGRAMS:
            return
        yield told(
            META,
            event,
            context,
            what=f"The kernel took it ({event.route}). What leaves was judged as before, but after "
            "ours another program may have changed where it goes.",
            what_to_do="Nothing, if this job builds or tests BPF programs. If not, treat it as an "
            "attack: nothing else in a build needs them.",
        )
