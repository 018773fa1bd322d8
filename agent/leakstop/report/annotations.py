# SPDX-License-Identifier: MIT
"""Annotations: one workflow command a cause, most severe first; none when a run is clean.

The runner shows 10 errors, 10 warnings and 10 notices of a step and drops the rest without
a word, so the last one that fits says how many more there are. Titles are constants: the
runner masks secrets in messages, not in titles.

An annotation stands at the line of the workflow where its step is, where that is known. Else no
``file`` is given: without a line it would point at the top of the workflow, and without ``file``
it points at our own step, where the report stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from leakstop.detect.advice import PING
from leakstop.model.clock import between
from leakstop.model.finding import Finding, Severity
from leakstop.model.flow import Transport
from leakstop.model.process import UNKNOWN, ProcessView
from leakstop.model.report import FlowRecord, Report
from leakstop.report import escape
from leakstop.report.context import Context, carried_how, inside
from leakstop.report.facts import UNPLACED_FINDING, by_host, count_hosts, plural
from leakstop.report.headline import PLAIN, amount_left, went_on
from leakstop.report.reading import Likely, Reading, read
from leakstop.report.strange import REFUSED, is_ping, named_but, perhaps_for, through
from leakstop.report.vocabulary import Vocabulary

PER_LEVEL = 10
"""Errors, and warnings, of one step that the runner shows (``_maxCountPerIssueType``)."""


_OF_THIS_REPOSITORY = re.compile(r"(\.github/workflows/[^:@]+):(\d+)")
"""A workflow of another repository has its ref behind it."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation, not escaped yet."""

    level: str
    """``error``, ``warning`` or ``notice``."""
    title: str
    """A constant, without the product's name."""
    lines: tuple[str, ...]
    place: str = ""
    """``file:line`` of the workflow; empty: our own step."""

    @property
    def properties(self) -> dict[str, str]:
        """What the runner is told besides the text."""
        found = _OF_THIS_REPOSITORY.fullmatch(self.place)
        where = {"file": found[1], "line": found[2]} if found else {}
        return {**where, "title": f"Leakstop: {self.title}"}


def render(report: Report, *, vocabulary: Vocabulary | None = None) -> str:
    """Render the workflow commands; print them to the log as they are."""
    context = Context.of(report, vocabulary)
    found = [
        *(_leak(context, leak) for leak in context.facts.leaks),
        *_coverage(context),
        *_denied(context),
        *_findings(context),
        *_unnamed(context),
    ]
    commands = []
    for level in ("error", "warning", "notice"):
        commands += _capped([each for each in found if each.level == level])
    return "".join(f"{command}\n" for command in commands)


def _capped(annotations: Sequence[Annotation]) -> list[str]:
    shown = list(annotations[:PER_LEVEL])
    if len(annotations) > PER_LEVEL:
        more = len(annotations) - PER_LEVEL
        last = shown[-1]
        lines = (*last.lines, f"And {more:,} more: the job summary has all of them.")
        shown[-1] = replace(last, lines=lines)
    return [escape.command(each.level, each.lines, each.properties) for each in shown]


def _leak(context: Context, leak: Finding) -> Annotation:
    secret = context.secret(leak.secret)
    who = _who(leak.process, leak.step)
    how = carried_how(leak) or "with it"
    homes = ", ".join(home for home in secret.home if home != "nowhere")
    belongs = f"{leak.secret} belongs {f'only to {homes}' if homes else 'nowhere'}. "
    if not secret.home:
        belongs = f"Nobody has said where {leak.secret} belongs. "
    rotate = "let this job end" if secret.short_lived else f"rotate {leak.secret}"
    if secret.canary:
        belongs = f"{leak.secret} is a canary: only who collects credentials sends it. "
        rotate = "rotate what this job could read"
    then = f"revert the change that brought it, and {rotate}; the job summary has the pages"
    amount = amount_left([leak])
    if leak.bytes_left == 0:
        return Annotation(
            "error",
            "a secret was stopped on its way out",
            (
                f"{leak.secret} was about to leave for {leak.destination}.",
                f"{who} had it {how}. It was stopped before the first byte: {amount} left.",
                f"{belongs}Do not re-run. If you do not know this step, {then}.",
            ),
            context.place_of(leak.step),
        )
    return Annotation(
        "error" if leak.failing else "warning",
        "a secret left",
        (
            f"{amount.capitalize()} of {leak.secret} left for {leak.destination}: {rotate} now.",
            f"{who} had it {how}. {leak.action_taken}",
            f"{belongs}Do not re-run. The job summary has the pages and the order.",
        ),
        context.place_of(leak.step),
    )


def _who(process: ProcessView, step: str, relayed: str = "") -> str:
    program = _code(process.command) + inside(process, str) + relayed
    return program + (f' in step "{step}"' if step else "")


def _code(text: str) -> str:
    return f"`{text}`"


def _coverage(context: Context) -> list[Annotation]:
    report = context.report
    coverage = report.coverage
    if not context.facts.uncertain:
        return []
    if coverage.sensor != "kernel":
        if report.policy.canonical.get("on_unsupported") == "audit":
            return []  # asked for: the summary still says so
        blind = (
            "The machine's kernel is out of reach, so Leakstop could observe but not stop "
            "anything, and could not look into TLS. The job summary has the ways out."
        )
        return [Annotation("warning", "only partly watched", (blind,))]
    what = f"Not everything was recorded ({plural(coverage.lost_events, 'event')} lost)."
    if coverage.gaps:
        gap = coverage.gaps[0]
        what = f"The guard was not whole {between(gap.since_s, gap.until_s)}: {gap.why}."
    if coverage.agent_died:
        what = "The agent ended before the job did."
    if report.verdict == "pass":
        return [Annotation("warning", "only partly watched", (what, "A host may be missing."))]
    unproven = f"{what} {went_on(report)}, so nobody can say that nothing was tried."
    then = "Treat the job as unproven; if you did not expect it, look at what ran at that time."
    return [Annotation("error", "not protected", (unproven, then))]


_READINGS = {
    Likely.MISSING_LINE: "Most likely a missing line:",
    Likely.FORBIDDEN: "Somebody decided this:",
    Likely.ATTACK: "Treat this as an attack until shown otherwise:",
}


def _denied(context: Context) -> list[Annotation]:
    """One a host; those that look like an attack first."""
    order = (Likely.ATTACK, Likely.FORBIDDEN, Likely.MISSING_LINE)
    readings = [read(context, group, PLAIN) for group in by_host(context.facts.denied).values()]
    readings.sort(key=lambda reading: order.index(reading.likely))
    return [_denial(context, reading) for reading in readings]


def _denial(context: Context, reading: Reading) -> Annotation:
    first = reading.first
    forbidden = reading.likely is Likely.FORBIDDEN
    standing = f"is {'forbidden by' if forbidden else 'not in'} the policy"
    standing = named_but(first) or standing
    if first.what:
        standing = REFUSED
    who = _who(first.process, first.step, perhaps_for(first, _code))
    tries = f" ({reading.tries:,} tries)" if reading.tries > 1 else ""
    said = f'{who} wanted it{tries} and read "{reading.log_phrase}"'
    lines = [
        f"{first.destination}{through(first, str)} {standing}; {said}. {reading.unsent} sent.",
        f"{_READINGS[reading.likely]} {reading.because}.",
    ]
    lines += [PING] if any(map(is_ping, reading.flows)) else []
    words = [line.rule for line in context.proposal.lines if set(line.flows) & set(reading.flows)]
    if words and reading.likely is Likely.MISSING_LINE:
        step = "your Leakstop step" if context.in_workflow else "your policy"
        lines.append(f"Add {' '.join(words)} to `allow` of {context.policy_file or step}.")
        if context.report.job.fork:
            lines.append("Your change is fine otherwise; a maintainer must add this line.")
        elif context.in_workflow:
            lines.append("A re-run keeps this commit's files; the summary says how to finish it.")
    return Annotation("error", _title(first), tuple(lines), context.place_of(first.step))


def _title(flow: FlowRecord) -> str:
    if not flow.what:
        return "a host was denied"
    return "a question was refused" if flow.protocol is Transport.DNS else "a socket was refused"


def _findings(context: Context) -> list[Annotation]:
    """What the sections above do not tell: a failing finding is an error, the rest warns."""
    unplaced = [f for f in context.report.findings if f.id == UNPLACED_FINDING]
    told = {finding.destination for finding in context.facts.denied}
    asked = [f for f in unplaced if f not in context.facts.others and f.destination not in told]
    return [
        Annotation(
            "error" if _fails(context, finding) else "warning",
            finding.title[:1].lower() + finding.title[1:],
            _finding_lines(finding),
            context.place_of(finding.step),
        )
        for finding in (*context.facts.others, *asked)
        if finding.severity.reaches(Severity.MEDIUM)
    ]


def _fails(context: Context, finding: Finding) -> bool:
    high = finding.severity.reaches(Severity.HIGH)
    return finding.failing and high and context.report.verdict == "fail"


def _finding_lines(finding: Finding) -> tuple[str, ...]:
    known = finding.process != UNKNOWN
    who = _who(finding.process, finding.step) if known else ""
    about = ", ".join(part for part in (who, finding.destination) if part)
    what = f"{finding.secret}: " if finding.secret else ""
    times = f" ({finding.count:,} times)" if finding.count > 1 else ""
    return (f"{what}{about}{times}. {finding.action_taken}".lstrip(". "), finding.what_to_do)


def _unnamed(context: Context) -> list[Annotation]:
    hosts = count_hosts(context.facts.unnamed)
    if not hosts or context.facts.leaks:
        return []
    verb = "is" if hosts == 1 else "are"
    said = f"{plural(hosts, 'host')} {verb} not named in a policy. Nothing was blocked."
    if context.facts.denied:
        said = f"{plural(hosts, 'host')} {verb} not named in a policy, and passed."
    paste = "the lines" if context.has_policy or not context.in_workflow else "the step"
    summary = f"The job summary has {paste} to paste."
    return [Annotation("notice", "hosts not named yet", (f"{said} {summary}",))]
