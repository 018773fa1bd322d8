# SPDX-License-Identifier: MIT
"""Tables of flows, and the folded part that every summary ends with."""

from __future__ import annotations

from collections.abc import Sequence

from leakstop.model.report import FlowRecord
from leakstop.model.verdict import Action, Reason
from leakstop.report import escape
from leakstop.report.context import BUILT_IN, Context, why_opaque
from leakstop.report.facts import count_hosts, plural
from leakstop.report.strange import oddities, through
from leakstop.report.summary.markdown import folded, table
from leakstop.report.summary.phrases import (
    command_chain,
    named_in,
    notes_list,
    place_cell,
    step_and_command,
    watched_words,
)


def details_section(context: Context) -> list[str]:
    """Fold the hosts, what was watched, and what could not be seen."""
    facts = context.facts
    if facts.clean or not facts.hosts:
        title = "Where it went, and what was watched"
    else:
        hosts = plural(facts.hosts, "host")
        title = f"{'The' if facts.hosts == 1 else 'All'} {hosts} by step and command"
    body = [*flow_table(context, facts.egress), "", watched_words(context)]
    more = (*opaque_section(context), *advice_section(context), *_notes(context))
    return [*folded(title, body), *more]


def opaque_section(context: Context) -> list[str]:
    """Fold the connections that were not looked into; each with the reason."""
    facts = context.facts
    if not facts.opaque or context.report.coverage.sensor != "kernel":
        return []  # of a sensor that looks into none, the section about coverage says so
    rows: dict[tuple[str, ...], int] = {}
    for flow in facts.opaque:
        who = step_and_command(flow.step, flow.process)
        place = escape.cell(context.vocabulary.place(flow)) + through(flow, escape.cell)
        why = escape.prose(why_opaque(context.report, flow))
        key = (who, place, why)
        rows[key] = rows.get(key, 0) + flow.encrypted - flow.inspected
    cells = [
        (who, place + (f" ({times:,} times)" if times > 1 else ""), why)
        for (who, place, why), times in rows.items()
    ]
    body = [
        *table(("Step › command", "Host", "Why"), cells),
        "",
        "The host was checked, the content was not.",
    ]
    return ["", *folded(f"Not inspected: {facts.uninspected:,}", body)]


def advice_section(context: Context) -> list[str]:
    """Fold what could be done better."""
    advice = context.facts.advice
    if not advice:
        return []
    body = [
        f"- **{escape.prose(each.title)}.** {escape.prose(each.action_taken)} "
        f"{escape.prose(each.what_to_do)}"
        for each in advice
    ]
    return ["", *folded(f"Advice: {len(advice)}", body)]


def _notes(context: Context) -> list[str]:
    notes = context.report.coverage.notes
    if not notes or context.facts.uncertain:
        return []  # the coverage section has them
    return ["", *folded(f"Not seen: {plural(len(notes), 'limit')}", notes_list(context))]


def flow_table(context: Context, flows: Sequence[FlowRecord]) -> list[str]:
    """One row a step, command and place; the runner's own flows share a row."""
    if not flows:
        return ["Nothing tried to leave the machine."]
    rows: dict[tuple[str, ...], list[FlowRecord]] = {}
    runner: list[FlowRecord] = []
    for flow in flows:
        if flow.rule and (flow.rule.source, flow.rule.via) == (BUILT_IN, "runner"):
            runner.append(flow)
            continue
        place = context.vocabulary.place(flow)
        went = escape.cell(place) + through(flow, escape.cell)
        key = (escape.cell(flow.step), command_chain(flow), went, _verdict(flow))
        rows.setdefault(key, []).append(flow)
    cells = [(*key[:2], key[2] + _amount(group, key[2]), key[3]) for key, group in rows.items()]
    if runner:
        own = (escape.NOTHING, "the runner itself", plural(count_hosts(runner), "host"))
        cells.append((*own, f"{BUILT_IN}: `runner`"))
    return table(("Step", "Command", "Went to", "Named in"), cells)


def _amount(flows: Sequence[FlowRecord], shown: str) -> str:
    """How many hosts or tries a row stands for, where the row does not say it."""
    if place_cell(flows[0]) != shown:
        return f" ({plural(count_hosts(flows), 'host')})"
    tries = sum(flow.count for flow in flows)
    return f" ({tries:,} times)" if tries > 1 else ""


def _verdict(flow: FlowRecord) -> str:
    if flow.stopped:
        return "**stopped**: it was to carry a secret"
    if flow.reason is Reason.LEAK:
        word = "stopped" if flow.applied is Action.DENY else "left"
        return f"**{word}**: it carried a secret"
    odd = "".join(f"; {oddity}" for oddity in oddities(flow, escape.cell))
    if flow.applied is Action.DENY:
        word = "denied as wanted" if flow.quiet or flow.service else "**denied**"
        return f"{word}: {named_in(flow)}{odd}"
    return f"{named_in(flow)}{odd}"
