# SPDX-License-Identifier: MIT
"""The job changed resolv.conf, the hosts file, or the configuration of the machine's resolver.

Why: a name that leads elsewhere is how an allowed host becomes a stranger's.
Sees: who wrote, replaced or removed one of these files.
Quiet when: a service of the machine did it, as systemd-resolved does.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="resolver-changed",
    title="The job changed who answers for names",
    severity=Severity.MEDIUM,
    needs=(Tamper,),
    incident="Shai-Hulud 2, November 2025: the resolver stopped and its configuration replaced",
    since="0.1.0",
)


class ResolverChanged(Detector[Tamper]):
    """Reports it once for each program, step and thing that was touched."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick is not Trick.RESOLVER or context.service:
            return
        yield told(
            META,
            event,
            context,
            what=f"It changed {event.what}. Only answers of the resolvers that were there before "
            "the job are believed: a connection to where another one leads is judged as one to a "
            "bare address.",
            what_to_do="A line in the hosts file needs a rule for its address, too. If "
            "the job is not meant to change this, find out which program in this step does it.",
        )
