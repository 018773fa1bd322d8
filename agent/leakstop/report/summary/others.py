# SPDX-License-Identifier: MIT
"""The section about findings that have no section of their own."""

from __future__ import annotations

from leakstop.model.finding import Finding
from leakstop.model.process import UNKNOWN
from leakstop.report import escape
from leakstop.report.context import Context
from leakstop.report.summary.markdown import table
from leakstop.report.summary.phrases import commit_line, step_and_command


def others_section(context: Context) -> list[str]:
    """List findings, a row each."""
    rows = [
        (
            finding.severity.value,
            escape.prose(finding.title) + _about(finding.destination),
            _who(finding),
            escape.prose(finding.action_taken) or escape.NOTHING,
            escape.prose(finding.what_to_do) or escape.NOTHING,
        )
        for finding in context.facts.others
    ]
    told = context.facts.leaks or context.facts.denied
    heads = ("", "What", "Step › command", "What was done", "What to do")
    return [*table(heads, rows), *([] if told else commit_line(context))]


def _who(finding: Finding) -> str:
    if finding.process == UNKNOWN:
        return escape.NOTHING
    return step_and_command(finding.step, finding.process)


def _about(destination: str) -> str:
    return f": {escape.cell(destination)}" if destination else ""
