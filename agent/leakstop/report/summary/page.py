# SPDX-License-Identifier: MIT
"""The summary as a whole: which sections, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from leakstop.model.report import Report
from leakstop.report.context import Context
from leakstop.report.facts import Facts, plural
from leakstop.report.headline import MARKDOWN, headline
from leakstop.report.summary.clean import clean_section
from leakstop.report.summary.coverage import coverage_section
from leakstop.report.summary.denied import denied_section
from leakstop.report.summary.details import advice_section, details_section, opaque_section
from leakstop.report.summary.homeless import homeless_section
from leakstop.report.summary.leak import leak_section
from leakstop.report.summary.others import others_section
from leakstop.report.summary.phrases import watched_words
from leakstop.report.summary.unnamed import unnamed_section
from leakstop.report.vocabulary import Vocabulary

MAX_BYTES = 1_000_000
"""GitHub drops a summary above 1 MiB (1,048,576 bytes) as a whole."""

_TOO_LONG = "The tables are too long for a summary: see `report.json`."

Section = Callable[[Context], list[str]]


class Detail(str, Enum):
    """The action's input ``summary``."""

    AUTO = "auto"
    """Six lines when there is nothing to do."""
    FULL = "full"
    OFF = "off"


def render(
    report: Report, *, detail: Detail = Detail.AUTO, vocabulary: Vocabulary | None = None
) -> str:
    """Render the job summary; empty when it is switched off."""
    if detail is Detail.OFF:
        return ""
    context = Context.of(report, vocabulary)
    head = headline(report, context.facts, MARKDOWN)
    top = [f"### {head.title}", head.status, ""]
    if context.facts.clean:
        rest = clean_section(context)
        if detail is Detail.AUTO:
            watched = watched_words(context) + _limits(context)
            more = [*opaque_section(context), *advice_section(context)]
            return _joined([*top, *rest, "", watched, *more])
        return _joined([*top, *rest, "", *details_section(context)])
    body = [line for section in _sections(context.facts) for line in [*section(context), ""]]
    whole = _joined([*top, *body, *details_section(context)])
    for text in (whole, _joined([*top, *body, _TOO_LONG])):
        if len(text.encode()) <= MAX_BYTES:
            return text
    return _joined([*top, _TOO_LONG])


def _sections(facts: Facts) -> list[Section]:
    """What there is to tell, worst first."""
    wanted: list[tuple[bool, Section]] = [
        (bool(facts.leaks), leak_section),
        (facts.uncertain, coverage_section),
        (bool(facts.denied), denied_section),
        (bool(facts.others), others_section),
        # Hosts of a run with a leak are never proposed: one of them may be the attacker's.
        (bool(facts.unnamed) and not facts.leaks, unnamed_section),
        (bool(facts.homeless) and not (facts.leaks or facts.unnamed), homeless_section),
    ]
    return [section for holds, section in wanted if holds]


def _limits(context: Context) -> str:
    notes = plural(len(context.report.coverage.notes), "limit")
    return f" Not seen: {notes}, see `report.json`." if context.report.coverage.notes else ""


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"
