# SPDX-License-Identifier: MIT
"""The section about secrets that went to named hosts, though nobody said that they may."""

from __future__ import annotations

from leakstop.model.verdict import Mode
from leakstop.report import escape
from leakstop.report.context import Context
from leakstop.report.summary import paste
from leakstop.report.summary.markdown import table


def homeless_section(context: Context) -> list[str]:
    """Ask for their homes."""
    rows = []
    for name in context.facts.homeless:
        flows = [flow for flow in context.facts.egress if name in flow.secrets]
        places = ", ".join(escape.cell(place) for place in {flow.destination: 0 for flow in flows})
        programs = ", ".join(escape.cell(p) for p in {flow.process.command: 0 for flow in flows})
        rows.append((escape.cell(name), places, programs))
    placed = paste.home_lines(context)
    lead = "Say where these belong; in block mode they would have been stopped:"
    if context.report.mode is Mode.BLOCK:
        lead = "Say where these belong:"
    body = [lead, "", *table(("Secret", "Went to", "Sent by"), rows)]
    return (
        [*body, "", f"If that is their home, add to `secrets` of {context.policy_place}:", placed]
        if placed
        else body
    )
