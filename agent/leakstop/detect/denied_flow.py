# SPDX-License-Identifier: MIT
"""A program was refused a destination.

Why: in block mode this is what the policy is for, and the reason why a build just broke.
Sees: connections and lookups that a ``deny`` rule names, in both modes; in block mode also
those that nothing names and those that could not be read.
Quiet when: never silent, but a note that fails nothing if a rule says ``quiet``, or if a
service of the machine wanted what nobody named.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.advice import destination_rule
from leakstop.detect.detector import Attempt, Context, Detector, DetectorMeta, Sighting
from leakstop.model.event import Connect, Question
from leakstop.model.finding import Finding, Severity
from leakstop.model.verdict import Action, Carriage, Reason

META = DetectorMeta(
    id="denied-flow",
    title="A destination was denied",
    severity=Severity.HIGH,
    needs=(Connect, Question),
    incident="Codecov, April 2021: an upload to a bare address that no build needs",
    since="0.1.0",
)


class DeniedFlow(Detector[Attempt]):
    """Reports a denial once for each program, step and destination, and counts the tries."""

    meta = META

    def on_event(self, event: Attempt, context: Context) -> Iterator[Sighting]:
        """Look at one attempt."""
        if event.applied is not Action.DENY or event.carriage is Carriage.KILL:
            return  # a kill is reported by the detector of the secret
        rule = context.rule
        harmless = context.quiet or context.service
        finding = Finding(
            id=META.id,
            severity=Severity.INFO if harmless else META.severity,
            title=META.title,
            process=context.process,
            destination=context.destination,
            secret="",
            encoding="",
            step="",
            action_taken=_done(event),
            what_to_do=_advice(event, context),
            ts_ns=event.ts_ns,
            count=context.tries,
            rule=f"{rule.text} ({rule.place()})" if rule is not None else "",
            failing=not harmless,
        )
        yield Sighting((context.destination, context.process.exe, event.reason), finding)


def _done(event: Attempt) -> str:
    if isinstance(event, Question):
        return "The name was not looked up, and nothing was sent."
    return "Denied before the first byte: nothing was sent."


def _advice(event: Attempt, context: Context) -> str:
    if context.quiet:
        return "Nothing: the policy wants this denial and its silence."
    if context.service:
        return (
            "Nothing for the job: a service of this machine wanted it, which ran before the guard "
            "and belongs to no step. If it matters, allow it."
        )
    if event.reason is Reason.UNPARSABLE:
        return (
            "It could not be read, so it could not be judged. Look at what this program sends; "
            "no rule can allow it."
        )
    if event.reason is Reason.DENY_RULE:
        return (
            "A deny rule names this destination. If the job needs it, narrow that rule; "
            "if not, find out why this program wants it."
        )
    rule = destination_rule(context.flow, context.place)
    if not rule:
        return "Find out why this program wants it; a policy has no word that would allow it."
    sources = context.policy.sources
    where = f" in {sources[0]}" if sources else ""
    return (
        f"If the job needs it, add under `allow:`{where}: `{_item(rule)}`. "
        "If you do not expect it, treat it as an attack until shown otherwise."
    )


def _item(rule: str) -> str:
    return f'- "{rule}"' if rule.startswith("[") else f"- {rule}"
