# SPDX-License-Identifier: MIT
"""A program of the job read the memory or the environment of the runner's worker.

Why: all secrets of the job stand there in the open, also those that no step was given.
Sees: files of procfs by whatever path, ptrace, process_vm_readv and _writev, pidfd_getfd, at any
thread of the worker, and at its children until they are programs of their own; the memory of what
started the worker.
Quiet when: the runner itself or a service of the machine looks; ps and needrestart read
environments; a debugger is at a process of the job.
"""

from __future__ import annotations

from collections.abc import Iterator

from leakstop.detect.detector import Context, Detector, DetectorMeta, Sighting
from leakstop.detect.tampering import outcome, told
from leakstop.model.finding import Severity
from leakstop.model.tamper import Tamper, Trick

META = DetectorMeta(
    id="runner-read",
    title="The job reached into the runner's worker",
    severity=Severity.CRITICAL,
    needs=(Tamper,),
    incident="CVE-2025-30066, March 2025 (tj-actions/changed-files): secrets from its memory",
    since="0.1.0",
)


class RunnerRead(Detector[Tamper]):
    """Reports it once for each program, step and thing that was read."""

    meta = META

    def on_event(self, event: Tamper, context: Context) -> Iterator[Sighting]:
        """Look at one event."""
        if event.trick is not Trick.READ:
            return
        stopped = event.killed or event.denied
        rotate = "" if stopped else " Rotate every secret that this job or its workflow was given."
        yield told(
            META,
            event,
            context,
            what=f"It reached for {event.what} ({event.route}). {outcome(event)}",
            what_to_do="Do not re-run. Somebody who does this wants the secrets of the whole job: "
            f"find the change or the dependency that brought this program.{rotate}",
        )
