# SPDX-License-Identifier: MIT
"""A step set a variable for later steps that runs code before any program of theirs does.

Why: a step without rights can so act in the name of the one that publishes.
Sees: what is written to the runner's file for variables (GITHUB_ENV): LD_PRELOAD, BASH_ENV, …
Quiet when: the variable only names directories to search (LD_LIBRARY_PATH, PYTHONPATH).
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="environment-hijacked",
    title="A step put code into the steps after it",
    severity=Severity.HIGH,
    needs=(Tamper,),
    incident="CVE-2022-35954, August 2022: any variable in the environment of later steps",
    since="0.1.0",
)


class EnvironmentHijacked(Detector[Tamper]):
    """Reports it once for each program, step and thing that was touched."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick is not Trick.ENVIRONMENT:
            return
        yield told(
            META,
            event,
            context,
            what=f"It set {event.what} for all steps that follow: what it names runs before the "
            "programs of those steps do, with their rights and secrets.",
            what_to_do="Find out what the variable names. If it is meant (a memory allocator, a "
            "sanitizer), set it in `env:` of the step that needs it instead of GITHUB_ENV.",
        )
