# SPDX-License-Identifier: MIT
"""The report for a terminal and for the log of our own step.

Lines never exceed ``width``; colour only where the caller says so. All observed text has
lost its control characters, so nothing here can move the cursor or speak to the runner.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from leakstop.detect.advice import PING
from leakstop.model.finding import Finding
from leakstop.model.report import Report
from leakstop.report import escape
from leakstop.report.context import Context, ancestors, carried_how, inside, tied_how, why_opaque
from leakstop.report.facts import State, by_host, count_hosts
from leakstop.report.headline import PLAIN, headline
from leakstop.report.reading import Likely, Reading, read
from leakstop.report.strange import is_ping, named_but, oddities, perhaps_for, through
from leakstop.report.vocabulary import Vocabulary

WIDTH = 100
_MAX_HOSTS = 20

_COLOURS = {
    State.LEAKED: "1;31",
    State.STOPPED: "1;31",
    State.NOT_PROTECTED: "1;31",
    State.DENIED: "1;31",
    State.PARTLY_WATCHED: "1;33",
    State.WATCHED: "1;32",
    State.PROTECTED: "1;32",
}


def render(
    report: Report,
    *,
    colour: bool = False,
    width: int = WIDTH,
    vocabulary: Vocabulary | None = None,
    where: str = "",
) -> str:
    """Render the report; ``where`` names the directory that holds all of it."""
    context = Context.of(report, vocabulary)
    head = headline(report, context.facts, PLAIN)
    title = _wrap(head.title, width, "")
    if colour:
        title = [f"\x1b[{_COLOURS[context.facts.state]}m{line}\x1b[0m" for line in title]
    body = [line for text, indent in _body(context) for line in _wrap(text, width, indent)]
    if where:
        body += _wrap(f"All of it: {escape.line(where)}", width, "")
    return "\n".join([*title, *_wrap(head.status, width, ""), *body]) + "\n"


Lines = Iterator[tuple[str, str]]
"""Lines with their indents."""


def _body(context: Context) -> Lines:
    facts = context.facts
    for leak in facts.leaks:
        yield from _leak(context, leak)
    if facts.uncertain:
        for note in context.report.coverage.notes:
            yield f"not seen: {escape.line(note, 1000)}", "  "
    for group in by_host(facts.denied).values():
        yield from _denied(context, read(context, group, PLAIN))
    for finding in facts.others:
        yield from _finding(context, finding)
    if facts.unnamed and not facts.leaks:
        yield from _unnamed(context)
    yield from _opaque(context)
    for finding in facts.advice:
        yield from _finding(context, finding)
    for name in facts.homeless if not facts.leaks else ():
        places = {f.destination: 0 for f in facts.egress if name in f.secrets}
        shown = ", ".join(escape.line(place) for place in places)
        yield f"no home yet: {escape.line(name)} went to {shown}", "  "
    if context.commit and (facts.leaks or facts.denied or facts.others):
        yield f"this run is of commit {escape.line(context.commit)}", "  "


def _leak(context: Context, leak: Finding) -> Lines:
    stopped = leak.bytes_left == 0
    how = carried_how(leak)
    secret = escape.line(leak.secret) + (f", {how}" if how else "")
    word = "stopped" if stopped else "left"
    yield f"{word}: {secret}, on its way to {escape.line(leak.destination)}", "  "
    yield _by(context, leak), "    "
    if tied := tied_how(leak):
        yield f"known because {tied}", "    "
    yield escape.line(leak.action_taken, 1000), "    "
    yield f"what to do: {escape.line(leak.what_to_do, 1000)}", "    "


def _by(context: Context, finding: Finding) -> str:
    chain = (finding.process.command, *ancestors(finding.process))
    program = " < ".join(map(escape.line, chain)) + inside(finding.process, escape.line)
    return f"by {program}{_in(context, finding.step)}"


def _in(context: Context, step: str) -> str:
    place = context.place_of(step)
    where = f" ({escape.line(place)})" if place else ""
    return f', step "{escape.line(step)}"{where}' if step else ""


_READINGS = {
    Likely.MISSING_LINE: "most likely a missing line",
    Likely.FORBIDDEN: "somebody decided this",
    Likely.ATTACK: "treat this as an attack until shown otherwise",
}


def _denied(context: Context, reading: Reading) -> Lines:
    first = reading.first
    step = _in(context, first.step)
    tries = f", {reading.tries:,} tries" if reading.tries > 1 else ""
    command = escape.line(first.process.command) + inside(first.process, escape.line)
    command += perhaps_for(first, escape.line)
    where = escape.line(first.destination) + through(first, escape.line)
    yield f"denied: {where}, wanted by {command}{step}{tries}", "  "
    yield f"{_READINGS[reading.likely]}: {reading.because}", "    "
    if any(map(is_ping, reading.flows)):
        yield PING, "    "
    words = [line.rule for line in context.proposal.lines if set(line.flows) & set(reading.flows)]
    if words and reading.likely is not Likely.ATTACK:
        yield f"to allow it: {' '.join(words)}", "    "


def _finding(context: Context, finding: Finding) -> Lines:
    where = f": {escape.line(finding.destination)}" if finding.destination else ""
    yield f"{finding.severity.value}: {escape.line(finding.title)}{where}", "  "
    if finding.process.exe:
        yield _by(context, finding), "    "
    for sentence in (finding.action_taken, finding.what_to_do):
        if sentence:
            yield escape.line(sentence, 1000), "    "


def _unnamed(context: Context) -> Lines:
    lines = context.proposal.lines
    for line in lines[:_MAX_HOSTS]:
        yield f"not named: {line.word}  ({line.evidence})", "  "
    if len(lines) > _MAX_HOSTS:
        yield f"not named: {len(lines) - _MAX_HOSTS:,} more", "  "
    proposed = {flow.host for line in lines for flow in line.flows}
    rest = [flow for flow in context.facts.unnamed if flow.host not in proposed]
    for flow in rest[:_MAX_HOSTS]:
        odd = "".join(f"; {oddity}" for oddity in oddities(flow, escape.line))
        command = escape.line(flow.process.command) + perhaps_for(flow, escape.line)
        word = "named" if named_but(flow) else "not named"
        if flow.what:
            word = "not judged"
        yield f"{word}: {escape.line(flow.destination)}  ({command}{odd})", "  "
    if count_hosts(context.facts.unnamed):
        yield "the summary has the lines to paste", "  "


def _opaque(context: Context) -> Lines:
    """Connections that were not looked into, a line for each place and program."""
    if context.report.coverage.sensor != "kernel":
        return
    flows = context.facts.opaque
    for flow in flows[:_MAX_HOSTS]:
        where = escape.line(context.vocabulary.place(flow)) + through(flow, escape.line)
        why = escape.line(why_opaque(context.report, flow))
        yield f"not inspected: {where}  ({escape.line(flow.process.command)}; {why})", "  "
    if len(flows) > _MAX_HOSTS:
        yield f"not inspected: {len(flows) - _MAX_HOSTS:,} more", "  "


def _wrap(text: str, width: int, indent: str) -> list[str]:
    """Break ``text`` between words, and inside a word that is too long for a line."""
    room = max(20, width - len(indent) - 2)
    lines: list[str] = []
    current = ""
    for word in text.split(" "):
        joined = f"{current} {word}" if current else word
        if _columns(joined) <= room:
            current = joined
            continue
        if current:
            lines.append(current)
        *full, current = _pieces(word, room)
        lines += full
    lines.append(current)
    return [indent + ("  " if number else "") + line for number, line in enumerate(lines)]


def _pieces(word: str, room: int) -> Sequence[str]:
    pieces = [""]
    for char in word:
        if _columns(pieces[-1] + char) > room:
            pieces.append("")
        pieces[-1] += char
    return pieces


def _columns(text: str) -> int:
    """How many columns a terminal needs: wide characters take two, marks none."""
    return sum(_width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
