# SPDX-License-Identifier: MIT
"""A program puts a secret into a TLS connection to a place where it does not belong.

Why: most of what is stolen leaves over HTTPS, to a host of the thief or to one that every build
may reach. From outside it looks like any other request.
Sees: known secrets, also encoded, in what a program gives to its TLS library; and, a moment later,
behind encodings that the kernel does not look through.
Quiet when: the connection goes to the secret's home, or stays on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.leak import sent_sightings
from leakstop.model.channel import Channel
from leakstop.model.event import Write
from leakstop.model.finding import Severity

META = DetectorMeta(
    id="secret-in-tls",
    title="A secret was on its way out inside TLS",
    severity=Severity.CRITICAL,
    needs=(Write,),
    incident="ctx, May 2022: keys in base64 in a request; Shai-Hulud, September 2025",
    since="0.1.0",
)


class SecretInTls(Detector[Write]):
    """Reports a leak inside TLS once for each program, step, secret and place."""

    meta = META

    def on_event(self, event: Write, context: Context) -> Iterator[Sighting]:
        """Look at what is written."""
        if event.channel is Channel.TLS:
            yield from sent_sightings(META, event, context)
