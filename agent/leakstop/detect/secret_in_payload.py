# SPDX-License-Identifier: MIT
"""A program sends a secret in the open to a place where it does not belong.

Why: a thief needs no TLS: a plain request, a raw connection or a datagram carries a token as well,
and everybody on the way reads it.
Sees: known secrets, also encoded, in what leaves over TCP and UDP, across packets.
Quiet when: it goes to the secret's home, or stays on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.leak import sent_sightings
from leakstop.model.channel import Channel
from leakstop.model.event import Write
from leakstop.model.finding import Severity

META = DetectorMeta(
    id="secret-in-payload",
    title="A secret was on its way out in the open",
    severity=Severity.CRITICAL,
    needs=(Write,),
    incident="GhostAction, September 2026: plain HTTP to a bare address",
    since="0.1.0",
)


class SecretInPayload(Detector[Write]):
    """Reports a leak in the open once for each program, step, secret and place."""

    meta = META

    def on_event(self, event: Write, context: Context) -> Iterator[Sighting]:
        """Look at what is sent."""
        if event.channel is not Channel.TLS:
            yield from sent_sightings(META, event, context)
