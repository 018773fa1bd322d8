# SPDX-License-Identifier: MIT
"""The section about hosts that no rule names yet: a policy to paste, and what to look at."""

from __future__ import annotations

from collections.abc import Sequence

from leakstop.report import escape
from leakstop.report.context import Context
from leakstop.report.facts import plural
from leakstop.report.proposal import Line, Look, Why
from leakstop.report.summary import paste
from leakstop.report.summary.markdown import count_word, table
from leakstop.report.summary.phrases import step_and_command, unguarded_words


def unnamed_section(context: Context) -> list[str]:
    """Propose a policy."""
    limits = "This list comes from **1 run**; the next may meet another host."
    return [*_next(context), *_looks(context), f"{limits} {unguarded_words(context)}".rstrip()]


def _next(context: Context) -> list[str]:
    proposal = context.proposal
    if not proposal.lines:
        return ["**Next:** decide on each of these by hand.", ""]
    used = _amount(proposal.lines)
    if context.has_policy:
        said = f"add these lines to `allow` of {context.policy_place}. They name the rest: {used}."
        blocks = [paste.allow_lines(context, proposal.lines)]
        if homes := paste.home_lines(context):
            blocks += ["And to `secrets`, if these are their homes:", homes]
    elif context.in_workflow:
        said = f"replace your Leakstop step by this one. It names what this run used: {used}."
        blocks = [paste.step(context)]
    else:
        where = "save this as `leakstop.yml` and run with `--policy leakstop.yml`"
        said, blocks = f"{where}. It names what this run used: {used}.", [paste.policy(context)]
    who = "for a maintainer: " if context.report.job.fork else ""
    return [f"**Next:** {who}{said}", "", *blocks, ""]


def _amount(lines: Sequence[Line]) -> str:
    hosts = {flow.host for line in lines for flow in line.flows}
    return f"{plural(len(hosts), 'host')}, {plural(len(lines), 'line')}"


def _looks(context: Context) -> list[str]:
    looks = context.proposal.looks
    if not looks:
        return []
    many = count_word(len(looks))
    if not context.proposal.lines:
        lead = f"Look at {'it' if len(looks) == 1 else f'all {many} of them'} first:"
    else:
        lead = f"Look at {many} of them before you paste:"
    rows = [
        (
            escape.cell(look.flow.host or look.flow.destination),
            step_and_command(look.flow.step, look.flow.process),
            _why(look),
        )
        for look in looks
    ]
    return [lead, "", *table(("Host", "Step › command", "Why look"), rows), ""]


def _why(look: Look) -> str:
    names = ", ".join(escape.cell(name) for name in look.secrets)
    one = len(look.secrets) == 1
    secret = (
        f"{names} {'was' if one else 'were'} on the command line of what went there. "
        f"If this is {'its' if one else 'their'} home, {'keep' if look.proposed else 'write'} the "
        f"line. If you do not know this host, rotate {'the token' if one else 'them'} now"
    )
    words = {
        Why.SECRET: secret,
        Why.SINK: "anyone can store data here; allow only names that are yours",
        Why.ADDRESS: "a bare address: nothing says whose it is",
        Why.PLAIN_HTTP: "plain HTTP: everybody on the way can read and change it",
        Why.TRUST: "it does not show its name: the line trusts whatever is at its address",
        Why.FRONT: "asked for on a connection to another host; nobody looked this one up",
        Why.OTHERS: f"the policy allows it only for {escape.cell(look.flow.only_for)}",
        Why.BUDGET: (
            "a wildcard names it, but more names below it were asked for than its rule allows; "
            "raise `names:` there, or find out who makes them up"
        ),
        Why.PROTOCOL: "no rule can name it",
    }
    said = "; ".join(words[why] for why in look.whys)
    if not set(look.whys) & {Why.ADDRESS, Why.PLAIN_HTTP, Why.BUDGET, Why.PROTOCOL}:
        return said
    return f"{said}; {'its line covers the rest only' if look.proposed else 'it has no line above'}"
