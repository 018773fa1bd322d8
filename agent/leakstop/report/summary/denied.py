# SPDX-License-Identifier: MIT
"""The section about denied hosts: what it most likely means, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence

from leakstop.detect.advice import PING
from leakstop.model.verdict import Action, Reason
from leakstop.policy.scopes import EVERYBODY
from leakstop.report import escape
from leakstop.report.context import Context, ancestors, inside
from leakstop.report.facts import by_host, plural
from leakstop.report.headline import MARKDOWN, MARKDOWN_CELL
from leakstop.report.proposal import Line
from leakstop.report.reading import Likely, Reading, read
from leakstop.report.strange import (
    REFUSED,
    is_ping,
    named_but,
    perhaps_for,
    through,
)
from leakstop.report.summary import paste
from leakstop.report.summary.markdown import folded, table
from leakstop.report.summary.phrases import commit_line, place_cell, step_and_command
from leakstop.report.times import clock_of


def denied_section(context: Context) -> list[str]:
    """Tell of denied hosts."""
    groups = by_host(context.facts.denied).values()
    dress = MARKDOWN if len(groups) == 1 else MARKDOWN_CELL
    readings = [read(context, flows, dress) for flows in groups]
    told = _one(readings[0]) if len(readings) == 1 else _several(readings)
    return [
        *told,
        *_cure(context, readings),
        *_already_done(context),
        *_unexpected(context, readings),
    ]


def _one(reading: Reading) -> list[str]:
    first = reading.first
    step = f" in step {escape.code(first.step)}" if first.step else ""
    log = "in that step's log it reads" if first.step else "it reads"
    reason = {
        Reason.DENY_RULE: "is forbidden by the policy",
        Reason.NOT_NAMED: "is not named in the policy",
    }.get(first.reason, "could not be judged, so it was denied")
    reason = named_but(first) or reason
    if first.what:
        reason = REFUSED
    relayed = inside(first.process, escape.code) + perhaps_for(first, escape.code)
    who = f"{escape.code(first.process.command)}{relayed}{step}"
    where = escape.code(first.destination) + through(first, escape.code)
    phrase = escape.code(reading.log_phrase)
    return [
        f"{where} {reason}. {who} wanted it; {log} {phrase}.",
        "",
        f"{_LEADS[reading.likely]} {reading.because}.",
    ]


_LEADS = {
    Likely.MISSING_LINE: "**Most likely a missing line:**",
    Likely.FORBIDDEN: "**Somebody decided this:**",
    Likely.ATTACK: "**Treat this as an attack until shown otherwise:**",
}


def _several(readings: Sequence[Reading]) -> list[str]:
    heads = {
        Likely.ATTACK: "**Treat these as an attack until shown otherwise:**",
        Likely.FORBIDDEN: "**Somebody decided these:**",
        Likely.MISSING_LINE: "**Most likely missing lines:**",
    }
    lines: list[str] = []
    for likely, head in heads.items():
        rows = [
            (
                place_cell(reading.first),
                step_and_command(reading.first.step, reading.first.process),
                escape.cell(reading.log_phrase),
                reading.because,
            )
            for reading in readings
            if reading.likely is likely
        ]
        if rows:
            head_row = ("Host", "Step › command", "Its log reads", "Because")
            lines += ["", head, "", *table(head_row, rows)]
    return lines[1:]


def _cure(context: Context, readings: Sequence[Reading]) -> list[str]:
    """What to paste, for those who expect the host."""
    attacks = {r.first.host for r in readings if r.likely is Likely.ATTACK}
    forbidden = any(reading.likely is Likely.FORBIDDEN for reading in readings)
    hint = (
        ["", "If a denial is wanted, `quiet: true` on its `deny` rule keeps it from being red."]
        if forbidden
        else []
    )
    if any(is_ping(flow) for reading in readings for flow in reading.flows):
        hint += ["", PING]
    lines = [line for line in context.proposal.lines if _is_denied(line)]
    plain = [line for line in lines if not {flow.host for flow in line.flows} & attacks]
    doubtful = [line for line in lines if line not in plain]
    body = [*hint]
    where = f"Add to `allow` of {context.policy_place}:"
    if plain:
        body += ["", where, paste.allow_lines(context, plain), *_finish(context, plain)]
    if doubtful:
        text = [where, paste.allow_lines(context, doubtful)]
        body += ["", *folded("If you expected this, and know whose it is", text)]
    return body


def _step(context: Context, step: str) -> str:
    place = context.place_of(step)
    return escape.cell(step) + (f" ({escape.cell(place)})" if place else "")


def _is_denied(line: Line) -> bool:
    return any(flow.applied is Action.DENY for flow in line.flows)


def _finish(context: Context, lines: Sequence[Line]) -> list[str]:
    """How this very run can still be finished."""
    job = context.report.job
    if job.fork:
        return ["", "Your change is fine otherwise; a maintainer must add this line."]
    if not context.in_workflow:
        return []
    # A variable holds text, and a text is for everybody.
    open_to_all = [line.word for line in lines if line.scope == EVERYBODY]
    if not open_to_all:
        return []
    words = escape.code(" ".join(open_to_all), 1000)
    return [
        "",
        (
            "**To finish this run now:** a re-run keeps this commit's files, so a fix on the "
            "branch does not reach it. If `allow` of your step has the line "
            "`${{ vars.LEAKSTOP_ALLOW }}`, set that repository variable to "
            f'{words}, then "Re-run failed jobs"; remove it afterwards.'
        ),
    ]


def _already_done(context: Context) -> list[str]:
    """Uploads that a second run would repeat."""
    for flow in context.facts.egress:
        word = flow.rule.via or flow.rule.text if flow.rule else ""
        if word.startswith("publish:") and flow.applied is Action.ALLOW:
            step = f"step {escape.code(flow.step)}, " if flow.step else ""
            when = clock_of(context.report, flow.first_ns)
            return [
                "",
                (
                    "**Already done in this run:** "
                    f"{escape.code(word)} was reached ({step}{when}). "
                    "Look there before you publish the same version again."
                ),
            ]
    return []


def _unexpected(context: Context, readings: Sequence[Reading]) -> list[str]:
    rows = []
    for reading in readings:
        first = reading.first
        chain = " ‹ ".join(escape.cell(name) for name in ancestors(first.process))
        path = escape.cell(first.process.exe)
        program = f"{path} ‹ {chain}" if chain else path
        rows.append(
            (
                place_cell(first),
                program + inside(first.process, escape.cell) + perhaps_for(first, escape.cell),
                _step(context, first.step),
                clock_of(context.report, first.first_ns),
                plural(reading.tries, "try", "tries"),
            )
        )
    heads = ("Host", "Program", "Step", "First asked", "")
    what = "this" if len(readings) == 1 else "these"
    if not any(reading.first.what for reading in readings):
        what += " host" if len(readings) == 1 else " hosts"
    body = [*table(heads, rows), *commit_line(context)]
    return ["", *folded(f"If you do not expect {what}", body)]
