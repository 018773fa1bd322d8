# SPDX-License-Identifier: MIT
"""The section of a run that needs nothing."""

from __future__ import annotations

from leakstop.model.verdict import Mode
from leakstop.report.context import Context


def clean_section(context: Context) -> list[str]:
    """Say what a clean run means."""
    if context.report.mode is Mode.BLOCK:
        return ["Everything this run reached is named in its policy."]
    return ["This run would have passed in block mode. To switch: `mode: block`."]
