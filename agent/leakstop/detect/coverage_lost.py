# SPDX-License-Identifier: MIT
"""The guard was not whole, so a quiet report proves nothing.

Why: who can silence the guard does that first. In block mode denials go on without the
agent, but nobody can say any more that nothing was tried.
Sees: events that were lost, in block mode; times without an agent or with programs off, and an
agent that died, in both modes.
Quiet when: events are lost in audit mode: then it is a note of the report.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.model.clock import between
from leakstop.model.coverage import Gap, Loss
from leakstop.model.finding import Finding, Severity
from leakstop.model.process import UNKNOWN
from leakstop.model.verdict import Mode

META = DetectorMeta(
    id="coverage-lost",
    title="The guard was not whole",
    severity=Severity.HIGH,
    needs=(Loss, Gap),
    incident="CVE-2025-32955: a job that became root blinded its monitor",
    since="0.1.0",
)

_ADVICE = (
    "Treat the job as unproven. If you did not expect it, look at what the steps that ran at "
    "that time did."
)


class CoverageLost(Detector[Union[Gap, Loss]]):
    """Reports each kind of loss once, with the number of events lost."""

    meta = META

    def on_event(self, event: Gap | Loss, context: Context) -> Iterator[Sighting]:
        """Look at one loss."""
        if isinstance(event, Gap):
            yield Sighting(("gap", event.since_ns), _finding(event.ts_ns, _told(event, context), 1))
        elif event.missed and context.mode is Mode.BLOCK:
            done = "Denials went on in the kernel; the lost events cannot be brought back."
            yield Sighting(("loss", event.where), _finding(event.ts_ns, done, event.count))


def _told(gap: Gap, context: Context) -> str:
    """What happened, when it began and when it was over."""
    times = between(context.epoch_s + gap.since_ns / 1e9, context.epoch_s + gap.ts_ns / 1e9)
    if gap.undecided:
        meanwhile = "what those programs decide was not decided meanwhile."
    else:
        meanwhile = "denials went on in the kernel, but what was tried was not recorded in full."
    return f"Not whole {times}: {gap.why}; {meanwhile}"


def agent_died(ts_ns: int) -> Finding:
    """Report that the agent was gone before the guard was taken down in order."""
    return _finding(ts_ns, "Denials went on in the kernel; nobody recorded what happened.", 1)


def _finding(ts_ns: int, action_taken: str, count: int) -> Finding:
    return Finding(
        id=META.id,
        severity=META.severity,
        title=META.title,
        process=UNKNOWN,
        destination="",
        secret="",
        encoding="",
        step="",
        action_taken=action_taken,
        what_to_do=_ADVICE,
        ts_ns=ts_ns,
        count=count,
    )
