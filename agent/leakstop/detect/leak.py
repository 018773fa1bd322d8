# SPDX-License-Identifier: MIT
"""What the detectors of secrets share: which secret is meant, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from leakstop.detect.detector import Attempt, Context, DetectorMeta
from leakstop.model.event import SecretHit
from leakstop.model.finding import Finding, Severity
from leakstop.model.verdict import Action, Carriage, Leak
from leakstop.policy.match import at_home

MASK = "***"
"""Around the name of a secret where its value was: ``***NPM_TOKEN***``."""
LEAKS = frozenset({Carriage.KILL, Carriage.FAIL})
"""A secret on its way to a place where it does not belong."""
UNPLACED = frozenset({Carriage.WARN, Carriage.NOTE})
"""A secret of which nobody has said where it belongs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a secret that was about to be carried somewhere."""

    action_taken: str
    bytes_left: int | None


def each_once(event: Attempt) -> tuple[SecretHit, ...]:
    """Return the hits of ``event``, the first of each secret."""
    hits: dict[str, SecretHit] = {}
    for hit in event.hits:
        hits.setdefault(hit.secret, hit)
    return tuple(hits.values())


def strays(event: Attempt, context: Context) -> tuple[SecretHit, ...]:
    """Pick the secrets that do not belong there, each once.

    A command line may hold several, and the sensor tells one verdict for all of them. If the
    policy at hand puts every one at home, it is not the one that the sensor went by: then
    all are named rather than none.
    """
    hits = each_once(event)
    away = (hit for hit in hits if not at_home(context.policy, hit.secret, context.flow))
    return tuple(away) or hits


def outcome(event: Attempt, secret: str, context: Context) -> Outcome:
    """Say what was done about ``secret``, in exact words."""
    if event.applied is Action.DENY:
        how = "Killed" if event.carriage is Carriage.KILL else "Refused"
        return Outcome(f"{how} before its first byte: 0 bytes of {secret} left.", 0)
    if event.carriage in UNPLACED:
        why = ": nobody has said where it belongs"
    elif context.policy.leak is Leak.KILL:
        why = ": this sensor can only watch"
    else:
        why = f", as `leak: {context.policy.leak.value}` says"
    return Outcome(f"Not stopped{why}. {secret} may have left.", None)


def leak_finding(
    meta: DetectorMeta,
    event: Attempt,
    context: Context,
    hit: SecretHit,
    *,
    what_to_do: str,
    severity: Severity | None = None,
) -> Finding:
    """Build the finding about one secret."""
    done = outcome(event, hit.secret, context)
    return Finding(
        id=meta.id,
        severity=severity or meta.severity,
        title=meta.title,
        process=context.process,
        destination=context.destination,
        secret=hit.secret,
        encoding=hit.encoding,
        step="",
        action_taken=done.action_taken,
        what_to_do=what_to_do,
        ts_ns=event.ts_ns,
        bytes_left=done.bytes_left,
        failing=context.policy.leak is not Leak.WARN,
    )


__all__ = ["LEAKS", "MASK", "UNPLACED", "Outcome", "each_once", "leak_finding", "outcome", "strays"]
