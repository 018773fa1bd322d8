# SPDX-License-Identifier: MIT
"""A program has a secret on its command line and turns to a place where it does not belong.

Why: ``curl -d "$TOKEN"`` is how a step that somebody else wrote sends a secret away.
Sees: the first connect, send or question of a program whose arguments hold a known secret.
Quiet when: the program goes to the secret's home, or goes nowhere (``test -n "$TOKEN"``).
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.advice import after_leak
from leakstop.detect.detector import (
    TRIES,
    Context,
    Detector,
    DetectorMeta,
    Once,
    Sighting,
    Try,
)
from leakstop.detect.leak import LEAKS, leak_finding, strays
from leakstop.model.event import Question
from leakstop.model.finding import Severity
from leakstop.model.verdict import Carriage

META = DetectorMeta(
    id="secret-in-argv",
    title="A secret on a command line was on its way out",
    severity=Severity.CRITICAL,
    needs=TRIES,
    incident="GhostAction, September 2025 and 2026; Codecov, April 2021",
    since="0.1.0",
)


class SecretInArgv(Detector[Try]):
    """Reports a leak by command line once for each program, step, secret and place."""

    meta = META

    def __init__(self) -> None:
        self._once = Once()

    def on_event(self, event: Try, context: Context) -> Iterator[Sighting]:
        """Look at one attempt."""
        if event.carriage not in LEAKS or (isinstance(event, Question) and event.in_name):
            return
        for hit in strays(event, context):
            # A killed process was going to one place, however many it still asks for before
            # the signal arrives. One that is let go on may reach several.
            place = "" if event.carriage is Carriage.KILL else context.place
            if not self._once.first((event.pid, context.start_ns, hit.secret, place)):
                continue
            advice = after_leak(hit.secret, context)
            finding = leak_finding(META, event, context, hit, what_to_do=advice)
            cause = (hit.secret, context.place, context.process.exe, event.applied)
            yield Sighting(cause, finding)
