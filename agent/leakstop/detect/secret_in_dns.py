# SPDX-License-Identifier: MIT
"""A secret is part of a name that is looked up.

Why: whoever runs the name server of a domain reads every name below it, so a lookup is a
message, and one that passes where connections do not.
Sees: known secrets in the name of a DNS question, also encoded.
Quiet when: never; no secret belongs in a name.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.advice import rotate
from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.leak import MASK, each_once, leak_finding
from leakstop.model.event import Question
from leakstop.model.finding import Severity

META = DetectorMeta(
    id="secret-in-dns",
    title="A secret was part of a name that was looked up",
    severity=Severity.CRITICAL,
    needs=(Question,),
    incident="torchtriton, December 2022; node-ipc, May 2026",
    since="0.1.0",
)


class SecretInDns(Detector[Question]):
    """Reports a leak by lookup once for each program, step, secret and domain."""

    meta = META

    def on_event(self, event: Question, context: Context) -> Iterator[Sighting]:
        """Look at one question."""
        if not event.in_name:
            return
        # The labels before the secret change from chunk to chunk; what stands behind does not.
        domain = event.name.rpartition(f"{MASK}.")[2]
        for hit in each_once(event):
            what_to_do = (
                "No secret belongs in a name. If you do not know this step, somebody else "
                "wrote it: do not re-run, revert the change that brought it; "
                f"{rotate(hit.secret, context)}."
            )
            finding = leak_finding(META, event, context, hit, what_to_do=what_to_do)
            yield Sighting((hit.secret, domain, context.process.exe, event.applied), finding)
