# SPDX-License-Identifier: MIT
"""The job laid hands on the guard itself.

Why: who is root in a job can silence a monitor, and does that before anything else.
Sees: the guard's programs detached, its maps read or written, its pins removed; signals, ptrace
and memory access at its process; signals that make the runner's worker dump its memory; limits
set for either; the action's files or the runner's log replaced; the agent's journal changed.
Quiet when: never; the agent, its supervisor and the kernel itself are not the job.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import outcome, told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="guard-attacked",
    title="The job laid hands on the guard",
    severity=Severity.CRITICAL,
    needs=(Tamper,),
    incident="CVE-2025-32955, April 2025: a step with Docker undid the monitor's lockdown",
    since="0.1.0",
)

_DONE = {
    Trick.BPF: "It called {route} on {what}.",
    Trick.SIGNAL: "It sent {what}.",
    Trick.TRACE: "It reached for {what} ({route}).",
    Trick.LIMIT: "It set {what}.",
    Trick.MOUNT: "It took away {what} ({route}).",
    Trick.REWRITE: "It set {what}, which gives packets another address behind the guard.",
    Trick.ACTION: "It replaced {what}, which this action runs from.",
    Trick.RUNNER_LOG: "It wrote {what}, which says which step is which.",
    Trick.JOURNAL: "It changed {what}, which the agent alone writes.",
}


class GuardAttacked(Detector[Tamper]):
    """Reports it once for each program, step and thing that was touched."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick not in _DONE:
            return
        yield told(
            META,
            event,
            context,
            what=_what(event),
            what_to_do="Treat the job as compromised, and do not re-run it: no build does this by "
            "accident. Find the change that brought this step, and rotate what the job could read.",
        )


def _what(event: Tamper) -> str:
    if event.pid:
        return _seen(event)
    return _sent_by_file(event) if event.trick is Trick.SIGNAL else _found(event)


def _seen(event: Tamper) -> str:
    done = _DONE[event.trick].format(what=event.what, route=event.route)
    return f"{done} {'The agent has put it right.' if event.mended else outcome(event)}"


def _sent_by_file(event: Tamper) -> str:
    return (
        f"Somebody had the kernel send {event.what} when a file had something to read (F_SETOWN). "
        f"{outcome(event)} Who did it is not known."
    )


def _found(event: Tamper) -> str:
    since = ", and put it right" if event.mended else ": it stays so"
    return f"The agent found {event.what} {event.route}{since}. Who did it is not known."
