# SPDX-License-Identifier: MIT
"""What findings about hands laid on the machine have in common."""

from __future__ import annotations

from leakstop.detect.detector import Context, DetectorMeta, Sighting
from leakstop.model.finding import Finding, Severity
from leakstop.model.tamper import Tamper


def told(
    meta: DetectorMeta,
    event: Tamper,
    context: Context,
    *,
    what: str,
    what_to_do: str,
    severity: Severity | None = None,
) -> Sighting:
    """Say it once for each program, step and thing that was touched."""
    finding = Finding(
        id=meta.id,
        severity=severity or meta.severity,
        title=meta.title,
        process=context.process,
        destination=event.what,
        secret="",
        encoding="",
        step="",
        action_taken=what,
        what_to_do=what_to_do,
        ts_ns=event.ts_ns,
    )
    return Sighting((event.trick, event.what, context.process.exe), finding)


def outcome(event: Tamper) -> str:
    """Say what came of it, as a sentence."""
    if event.killed:
        return (
            "It was denied, and the program was killed."
            if event.denied
            else "The program was killed before that call returned to it."
        )
    return "It was denied: nothing came of it." if event.denied else "Nothing stopped it."


__all__ = ["outcome", "told"]
