# SPDX-License-Identifier: MIT
"""The first two lines of every report: a title, then the state word and the numbers.

The summary, the log and the terminal say the same; only the dress differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from leakstop.model.clock import between
from leakstop.model.finding import Finding, Severity
from leakstop.model.report import Report
from leakstop.report import escape
from leakstop.report.facts import Facts, State, count_hosts, plural, without_place
from leakstop.report.strange import was_cut

_MAX_NAMES = 4


@dataclass(frozen=True, slots=True)
class Dress:
    """How a kind of output marks words."""

    strong: Callable[[str], str]
    """For words of ours that matter most."""
    stress: Callable[[str], str]
    """For a word of ours that is easily overlooked."""
    quote: Callable[[str], str]
    """For observed text."""


MARKDOWN = Dress(
    strong=lambda text: f"**{text}**", stress=lambda text: f"*{text}*", quote=escape.code
)
MARKDOWN_CELL = replace(MARKDOWN, quote=escape.cell)
PLAIN = Dress(strong=str, stress=str, quote=escape.line)


@dataclass(frozen=True, slots=True)
class Headline:
    """The two lines, dressed."""

    title: str
    """``Leakstop · build: nothing to do``."""
    status: str
    """``Watched (audit mode) · 0 leaks · …``."""


def headline(report: Report, facts: Facts, dress: Dress) -> Headline:
    """Write the two lines."""
    job = f" · {dress.quote(report.job.name)}" if report.job.name else ""
    return Headline(
        title=f"Leakstop{job}: {_title(report, facts)}{_reduced(report, facts)}",
        status=" · ".join(_status(report, facts, dress)),
    )


def _title(report: Report, facts: Facts) -> str:
    secrets = len(names_of(facts.left or facts.leaks))
    if facts.state is State.LEAKED:
        return "a secret left" if secrets == 1 else f"{secrets} secrets left"
    if facts.state is State.STOPPED:
        if secrets == 1:
            return "a secret was stopped on its way out"
        return f"{secrets} secrets were stopped on their way out"
    if facts.state is State.NOT_PROTECTED:
        if report.coverage.agent_died:
            return "not protected to the end"
        return "not watched without a gap" if report.coverage.gaps else "events were lost"
    if facts.state is State.DENIED:
        return _denied_title(facts)
    if facts.state is State.PARTLY_WATCHED:
        return "only partly watched"
    hosts = count_hosts(facts.unnamed)
    minor = not any(finding.severity.reaches(Severity.MEDIUM) for finding in facts.others)
    if facts.others and not (hosts and minor):
        return f"{plural(len(facts.others), 'finding')} to look at"
    if hosts:
        verb = "is" if hosts == 1 else "are"
        return f"{plural(hosts, 'host')} {verb} not named yet"
    if facts.unnamed:
        return f"{without_place(facts.unnamed)} to look at"
    if facts.homeless:
        secrets = len(facts.homeless)
        return "a secret has no home yet" if secrets == 1 else f"{secrets} secrets have no home yet"
    return "nothing to do"


def _reduced(report: Report, facts: Facts) -> str:
    """Say first, whatever else there is to say, that the machine's kernel was out of reach."""
    told = facts.state is State.PARTLY_WATCHED
    return "" if told or report.coverage.sensor == "kernel" else ", only partly watched"


def _denied_title(facts: Facts) -> str:
    hosts = count_hosts(facts.denied)
    if not hosts:
        return f"{without_place(facts.denied)} was refused"
    return "one host was denied" if hosts == 1 else f"{hosts} hosts were denied"


def _status(report: Report, facts: Facts, dress: Dress) -> list[str]:
    lost = f"{plural(report.coverage.lost_events, 'event')} lost"
    gaps = _gap_words(report)
    if facts.state in (State.LEAKED, State.STOPPED):
        return [*_leak_words(facts, dress), *gaps, lost, inspected_words(facts, dress)]
    word = dress.strong(facts.state.value)
    if facts.state is State.DENIED:
        inspected = inspected_words(facts, dress)
        return [word, "0 leaks", *_denied_words(facts), inspected, lost]
    state = f"{word} ({report.mode.value} mode)"
    seen = dress.stress("seen")
    partly = [f"0 leaks {seen}", f"{plural(facts.hosts, 'host')} {seen}"]
    if facts.state is State.NOT_PROTECTED and report.coverage.agent_died:
        return [state, "the agent ended before the job", *gaps, *partly]
    if facts.state in (State.NOT_PROTECTED, State.PARTLY_WATCHED):
        if report.coverage.sensor == "kernel":
            missing = gaps if gaps and not report.coverage.lost_events else [*gaps, lost]
            return [state, *missing, *partly, inspected_words(facts, dress)]
        blind = f"secrets inside TLS were {dress.strong('not')} inspected"
        return [state, "the machine's kernel is out of reach", *partly, blind]
    return [state, "0 leaks", _named_words(facts), inspected_words(facts, dress), lost]


def went_on(report: Report) -> str:
    """What the guard did while it was not whole, and that this was not recorded."""
    if any(gap.undecided for gap in report.coverage.gaps):
        return "Some programs were off, and events are missing"
    return "Denials went on (they are in the kernel), but events are missing"


def _gap_words(report: Report) -> list[str]:
    """When nobody watched."""
    gaps = report.coverage.gaps
    if not gaps:
        return []
    more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
    word = "programs off" if gaps[0].undecided else "not watched"
    return [f"{word} {between(gaps[0].since_s, gaps[0].until_s)}{more}"]


def _leak_words(facts: Facts, dress: Dress) -> list[str]:
    leaks = plural(len(facts.leaks), "leak")
    told = facts.left or facts.leaks
    amount = f"{amount_left(told)} of {_names(told, dress)} left"
    if facts.left:
        return [dress.strong(f"{State.LEAKED.value}: {amount}"), leaks]
    return [dress.strong(State.STOPPED.value), leaks, dress.strong(amount)]


def amount_left(findings: Iterable[Finding]) -> str:
    """``0 of 40 bytes``, ``up to 40 of 40 bytes``: how much of their secrets left."""
    most: dict[str, int | None] = {}
    sizes: dict[str, int] = {}
    for finding in findings:
        whole = finding.size or None
        left = whole if finding.bytes_left is None else finding.bytes_left
        before = most.get(finding.secret, 0)
        most[finding.secret] = None if left is None or before is None else max(left, before)
        sizes[finding.secret] = max(finding.size, sizes.get(finding.secret, 0))
    known = [left for left in most.values() if left is not None]
    if len(known) < len(most):
        return "up to the whole"
    left = sum(known)
    of = f" of {sum(sizes.values()):,}" if all(sizes.values()) else ""
    return f"{'up to ' if left else ''}{left:,}{of} bytes"


def inspected_words(facts: Facts, dress: Dress) -> str:
    """How many encrypted connections were looked into. All else always is."""
    if not facts.encrypted:
        return "no encrypted connection"
    connections = plural(facts.encrypted, "encrypted connection")
    if facts.opaque:
        return f"{connections}, {facts.uninspected:,} {dress.strong('not')} inspected"
    return f"{connections}, {'all ' if facts.encrypted > 1 else ''}inspected"


def _names(findings: Iterable[Finding], dress: Dress) -> str:
    names = names_of(findings)
    rest = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(dress.quote(name) for name in names[:_MAX_NAMES]) + rest


def names_of(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The secrets that ``findings`` are about, each once, in order."""
    return tuple(dict.fromkeys(finding.secret for finding in findings))


def _unsent(facts: Facts) -> str:
    """What did not leave: a stream that was cut had made a connection, and shown a name."""
    return "no data" if any(map(was_cut, facts.denied)) else "nothing"


def _denied_words(facts: Facts) -> list[str]:
    hosts = count_hosts(facts.denied)
    tries = plural(sum(flow.count for flow in facts.denied if not flow.what), "try", "tries")
    sent = f"{_unsent(facts)} was sent to {'it' if hosts == 1 else 'them'}"
    words = [f"{hosts} of {plural(facts.hosts, 'host')} denied ({tries})", sent] if hosts else []
    others = without_place(facts.denied)
    return [*words, f"{others} refused"] if others else words


def _named_words(facts: Facts) -> str:
    unnamed = count_hosts(facts.unnamed)
    if unnamed:
        part = plural(unnamed, "host")
        if unnamed != facts.hosts:
            part = f"{unnamed} of {plural(facts.hosts, 'host')}"
        return f"{part} not named, nothing was blocked"
    if facts.quiet:
        return f"{plural(facts.hosts, 'host')}, {count_hosts(facts.quiet)} denied as wanted"
    return f"{plural(facts.hosts, 'host')}, all named in your policy" if facts.hosts else "0 hosts"
