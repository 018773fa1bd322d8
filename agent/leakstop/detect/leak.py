# SPDX-License-Identifier: MIT
"""What the detectors of secrets share: which secret is meant, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from leakstop.detect.advice import after_leak
from leakstop.detect.detector import Attempt, Context, DetectorMeta, Sighting
from leakstop.model.channel import Tie
from leakstop.model.event import Question, SecretHit, Write
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
    """``Finding.bytes_left``"""


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
    size = _size(secret, context)
    all_of = f" of {size}" if size else ""
    if event.applied is Action.DENY:
        how = "Killed" if event.carriage is Carriage.KILL else "Refused"
        if isinstance(event, (Question, Write)) and event.begun:
            most = max(size - 1, 0)
            left = f"up to {most}{all_of} bytes" if most else "a part"
            had = f"{how} in the middle: {left} of {secret} had left before."
            return Outcome(had, most or None)
        return Outcome(f"{how} before its first byte: 0{all_of} bytes of {secret} left.", 0)
    if event.carriage in UNPLACED:
        return Outcome(
            f"Not stopped: nobody has said where it belongs. {secret} may have left.", None
        )
    if isinstance(event, Write) and event.tie is Tie.NONE:
        done = "Not stopped: the program has no connection that is known, so another one sends it"
        return Outcome(f"{done}, or nobody. {secret} may have left.", None)
    left = f"Up to {size}{all_of} bytes of {secret} left." if size else f"{secret} may have left."
    if context.policy.leak is not Leak.KILL:
        return Outcome(f"Not stopped, as `leak: {context.policy.leak.value}` says. {left}", None)
    if context.watching:
        return Outcome(f"Not stopped: this sensor can only watch. {left}", None)
    if isinstance(event, Write) and event.late:
        return Outcome(f"Killed, but found only in a copy of what had been sent. {left}", None)
    # The kernel refuses all that it knows of.
    return Outcome(f"Killed, but not stopped: found too late. {left}", None)


def _size(secret: str, context: Context) -> int:
    view = context.secrets.get(secret)
    return view.size if view is not None else 0


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
    finding = Finding(
        id=meta.id,
        severity=severity or meta.severity,
        title=_title(meta, hit.secret, context),
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
        size=_size(hit.secret, context),
    )
    if isinstance(event, Write):
        return replace(finding, channel=event.channel, library=event.library, tie=event.tie)
    return finding


def _title(meta: DetectorMeta, secret: str, context: Context) -> str:
    view = context.secrets.get(secret)
    canary = view is not None and view.canary
    return meta.title.replace("secret", "canary", 1) if canary else meta.title


def sent_sightings(meta: DetectorMeta, event: Write, context: Context) -> Iterator[Sighting]:
    """Report each stray secret in what a process sends, once for each program, step and place."""
    lost = event.tie is Tie.NONE
    if event.carriage not in LEAKS and not lost:
        return
    for hit in strays(event, context):
        advice = after_leak(hit.secret, context)
        finding = leak_finding(meta, event, context, hit, what_to_do=advice)
        if lost:  # so nobody can say that it went to a wrong place; later it may only be forgotten
            severity = Severity.INFO if event.late else Severity.MEDIUM
            finding = replace(finding, severity=severity, failing=False)
        yield Sighting((hit.secret, context.place, context.process.exe, event.applied), finding)


__all__ = [
    "LEAKS",
    "MASK",
    "UNPLACED",
    "Outcome",
    "each_once",
    "leak_finding",
    "outcome",
    "sent_sightings",
    "strays",
]
