# SPDX-License-Identifier: MIT
"""The section about what was not watched."""

from __future__ import annotations

from leakstop.model.verdict import Mode
from leakstop.report.context import Context
from leakstop.report.summary.markdown import table
from leakstop.report.summary.phrases import notes_list


def coverage_section(context: Context) -> list[str]:
    """Say what was missed, what still held, and how to watch it fully."""
    coverage = context.report.coverage
    if coverage.sensor != "kernel":
        return _reduced(context)
    if coverage.agent_died:
        return _unproven(context, "Not protected to the end", "The agent ended before the job did")
    if coverage.gaps:
        return _unproven(context, "Not watched without a gap", "The guard was not whole for a time")
    if context.report.mode is Mode.BLOCK:
        return _unproven(context, "Not protected without a gap", "Not everything was recorded")
    return [
        "Not everything could be recorded, so a host or a command may be missing here:",
        *notes_list(context),
    ]


def _unproven(context: Context, state: str, what: str) -> list[str]:
    off = any(gap.undecided for gap in context.report.coverage.gaps)
    meanwhile = "Some programs were off" if off else "Denials went on (they are in the kernel)"
    lead = (
        f"**{state}.** {what}. {meanwhile}, but events are missing, "
        "so I cannot say that nothing was tried. Treat the job as unproven; if you did not "
        "expect it, look at what ran at that time."
    )
    return [lead, *notes_list(context)]


def _reduced(context: Context) -> list[str]:
    notes = notes_list(context)
    stopped = "**Nothing could have been stopped.**"
    rows = [
        (
            "simplest",
            (
                "a job with `container:`: drop it and run the image in a step, `docker run …`; "
                "steps on the host are covered, their containers too"
            ),
        ),
        ("own runners", "`sudo leakstop start` on the machine itself covers container jobs"),
        ("what is missing", "`leakstop doctor` says what this machine lacks"),
    ]
    if context.report.mode is Mode.AUDIT:
        silence = "`on-unsupported: audit` silences this warning's annotation; the line above stays"
        rows.append(("keep it so", silence))
    lead = (
        "What was watched: connections, DNS questions and command lines that live long enough "
        f"to be seen. {stopped}"
    )
    return [
        lead + (" What was not:" if notes else ""),
        *notes,
        "",
        *table(("To watch it fully", ""), rows),
    ]
