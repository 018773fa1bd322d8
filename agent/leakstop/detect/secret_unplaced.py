# SPDX-License-Identifier: MIT
"""A program carries a secret of which nobody has said where it belongs.

Why: a leak can only be told from ordinary use by the secret's home, and this one has none.
Sees: programs that have such a secret on their command line and reach an ordinary host, or that
send it to one.
Quiet when: the policy names the secret's home, or its format does. Places where no secret
belongs are a leak without any home, and reported as ``secret-in-argv`` or by how it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.advice import home_line, rotate
from leakstop.detect.detector import (
    ATTEMPTS,
    Attempt,
    Context,
    Detector,
    DetectorMeta,
    Once,
    Sighting,
)
from leakstop.detect.leak import UNPLACED, leak_finding, strays
from leakstop.model.finding import Severity
from leakstop.model.verdict import Carriage

META = DetectorMeta(
    id="secret-unplaced",
    title="A secret without a home was taken along",
    severity=Severity.MEDIUM,
    needs=ATTEMPTS,
    incident="GhostAction, September 2025: it took whatever secret a workflow named",
    since="0.1.0",
)


class SecretUnplaced(Detector[Attempt]):
    """Asks for the home of a secret, once for each program, step, secret and place."""

    meta = META

    def __init__(self) -> None:
        self._once = Once()

    def on_event(self, event: Attempt, context: Context) -> Iterator[Sighting]:
        """Look at one attempt."""
        if event.carriage not in UNPLACED:
            return
        severity = META.severity if event.carriage is Carriage.WARN else Severity.INFO
        for hit in strays(event, context):
            if not self._once.first((event.pid, context.start_ns, hit.secret, context.place)):
                continue
            advice = _advice(hit.secret, context)
            finding = leak_finding(META, event, context, hit, what_to_do=advice, severity=severity)
            cause = (hit.secret, context.place, context.process.exe, severity, event.applied)
            yield Sighting(cause, finding)


def _advice(secret: str, context: Context) -> str:
    line = home_line(secret, context)
    home = f"If {secret} belongs there, add to the policy: `{line}`. " if line else ""
    return f"{home}If you do not know this destination, {rotate(secret, context)} now."
