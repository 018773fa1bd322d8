# SPDX-License-Identifier: MIT
"""The job changed netfilter's rules, a route, a routing rule or an address.

Why: who wants to get around a monitor begins with flushing its rules. This one has none there.
Sees: what netlink tells: who committed a batch of nftables rules, who changed a route.
Quiet when: a service of the machine did it, as Docker does for each container.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="network-changed",
    title="The job changed the machine's network",
    severity=Severity.LOW,
    needs=(Tamper,),
    incident="Shai-Hulud 2, November 2025: netfilter flushed before anything was sent",
    since="0.1.0",
)


class NetworkChanged(Detector[Tamper]):
    """Reports it once for each program, step and thing that was touched."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick not in (Trick.FIREWALL, Trick.ROUTES) or context.service:
            return
        yield told(
            META,
            event,
            context,
            what=f"It changed {event.what}. What may leave was judged as before: the guard is "
            "attached to sockets, not to netfilter or routes.",
            what_to_do="Nothing, if the job sets up a network of its own. If not, find out which "
            "program in this step does it.",
        )
