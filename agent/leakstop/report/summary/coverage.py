# SPDX-License-Identifier: MIT
"""The section about what was not watched."""

from __future__ import annotations

from collections.abc import Sequence

from leakstop.model.clock import between
from leakstop.model.report import Away
from leakstop.model.verdict import Mode
from leakstop.report import escape
from leakstop.report.context import Context
from leakstop.report.headline import went_on
from leakstop.report.summary.markdown import table
from leakstop.report.summary.phrases import notes_list

_MAX_GAPS = 3


def coverage_section(context: Context) -> list[str]:
    """Say what was missed, what still held, and how to watch it fully."""
    coverage = context.report.coverage
    if coverage.sensor != "kernel":
        return _reduced(context)
    if coverage.agent_died:
        return _unproven(context, "Not protected to the end", "The agent ended before the job did")
    if coverage.gaps:
        return _unproven(context, "Not watched without a gap", _gap_words(coverage.gaps))
    if context.report.mode is Mode.BLOCK:
        return _unproven(context, "Not protected without a gap", "Not everything was recorded")
    return [
        "Not everything could be recorded, so a host or a command may be missing here:",
        *notes_list(context),
    ]


def _gap_words(gaps: Sequence[Away]) -> str:
    times = [f"{between(gap.since_s, gap.until_s)}: {escape.prose(gap.why)}" for gap in gaps]
    more = f"; and {len(gaps) - _MAX_GAPS} more times" if len(gaps) > _MAX_GAPS else ""
    return f"The guard was not whole {'; '.join(times[:_MAX_GAPS])}{more}"


def _unproven(context: Context, state: str, what: str) -> list[str]:
    lead = (
        f"**{state}.** {what}. {went_on(context.report)}, "
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
