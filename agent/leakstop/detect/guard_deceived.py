# SPDX-License-Identifier: MIT
"""Somebody of the job asked for the guard's end, or for another guard, in the hook's place.

Why: who has become root would rather have the guard end in order than be seen fighting it.
Sees: questions to end or to change the guard, from a process of the job that is not the one that
the runner calls. None of them is granted.
Quiet when: the asker is not of the job: then it may, and the hook finds the guard gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.model.finding import Finding, Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="guard-deceived",
    title="The job asked for the guard's end",
    severity=Severity.HIGH,
    needs=(Tamper,),
    incident="CVE-2025-32955: a job that became root blinded its monitor",
    since="0.1.0",
)

_WORDS = {"finish": "for the guard's end", "arm": "for another guard in its place"}
_ADVICE = (
    "No step has a reason to ask for it. Look at what that command is, and treat the job's secrets "
    "as known to whoever wrote it."
)


class GuardDeceived(Detector[Tamper]):
    """Reports each program that asks, once."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one attempt."""
        if event.trick is not Trick.FINISH:
            return
        finding = Finding(
            id=META.id,
            severity=META.severity,
            title=META.title,
            process=context.process,
            destination="",
            secret="",
            encoding="",
            step="",
            action_taken=f"It asked {_WORDS.get(event.what, event.what)}, and was refused.",
            what_to_do=_ADVICE,
            ts_ns=event.ts_ns,
        )
        yield Sighting((event.what, context.process.exe), finding)
