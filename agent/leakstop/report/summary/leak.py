# SPDX-License-Identifier: MIT
"""The section about secrets on their way out: stopped, or gone."""

from __future__ import annotations

from leakstop.model.finding import Finding
from leakstop.model.report import SecretView
from leakstop.report import escape
from leakstop.report.context import Context, ancestors, carried_how, inside, tied_how
from leakstop.report.headline import amount_left
from leakstop.report.rotation import in_order
from leakstop.report.summary.details import flow_table
from leakstop.report.summary.markdown import folded, table
from leakstop.report.summary.phrases import home_words, step_and_command
from leakstop.report.times import clock_of


def leak_section(context: Context) -> list[str]:
    """Tell of leaks; what has to be rotated comes first when something left."""
    facts = context.facts
    leak = (facts.left or facts.leaks)[0]
    evidence = _evidence(context, leak)
    more = _more(context)
    this = "this step" if leak.step else "this command"
    if facts.left:
        return [
            "**Rotate now, in this order:**",
            "",
            *_rotation(context),
            "",
            *evidence,
            *more,
            "",
            (
                "**Then:** do not re-run. Disable the workflow or revert the change that brought "
                f"{this}. Look through the other repositories that this account can push to."
            ),
            *_home_line(context),
            *_rest_of_step(context),
        ]
    return [
        *evidence,
        *more,
        "",
        f"**If you do not know {this}, somebody else wrote it.**",
        f"1. Do not re-run. Disable the workflow or revert the change that brought {this}.",
        (
            "2. Rotate, in this order. Nothing was seen leaving; "
            "what tried may have been able to read all of these:"
        ),
        "",
        *_rotation(context),
        "",
        "3. Look through the other repositories that this account can push to.",
        *_home_line(context),
        *_rest_of_step(context),
    ]


def _evidence(context: Context, leak: Finding) -> list[str]:
    report = context.report
    secret = context.secret(leak.secret)
    kind = f" ({escape.prose(secret.kind)})" if secret.kind else ""
    how = carried_how(leak)
    chain = " ‹ ".join(
        escape.cell(name) for name in (leak.process.command, *ancestors(leak.process))
    )
    chain += inside(leak.process, escape.cell)
    step = f" ‹ step {escape.cell(leak.step)}" if leak.step else ""
    place = context.place_of(leak.step) or report.job.workflow
    workflow = f" ({escape.cell(place)})" if leak.step and place else ""
    time = clock_of(report, leak.ts_ns)
    if leak.bytes_left == 0:
        happened = ("Stopped", f"{time}: {amount_left([leak])} left")
    else:
        happened = ("Left", f"{time}. {escape.prose(leak.action_taken)}")
    tries = f" · {leak.count:,} tries" if leak.count > 1 else ""
    tied = tied_how(leak)
    rows = [
        ("Secret", f"{escape.cell(leak.secret)}{kind}" + (f", {how}" if how else "")),
        ("On its way to", f"{escape.cell(leak.destination)} · {home_words(secret)}{tries}"),
        *([("Known because", tied)] if tied else []),
        ("By", chain + step + workflow),
        *([("Ran at", f"commit {escape.cell(context.commit)}")] if context.commit else []),
        happened,
    ]
    return table(("", ""), rows)


def _more(context: Context) -> list[str]:
    """Leaks beyond the first, a row each."""
    shown = (context.facts.left or context.facts.leaks)[0]
    rest = [leak for leak in context.facts.leaks if leak is not shown]
    if not rest:
        return []
    rows = [
        (
            escape.cell(leak.secret),
            escape.cell(leak.destination),
            step_and_command(leak.step, leak.process),
            "stopped" if leak.bytes_left == 0 else "**left**",
        )
        for leak in rest
    ]
    return ["", "Also:", "", *table(("Secret", "On its way to", "Step › command", ""), rows)]


def _rotation(context: Context) -> list[str]:
    """All watched secrets, in the order in which they matter."""
    since = clock_of(context.report, context.report.offset_ns)
    rows = [
        (
            escape.cell(secret.name) + where,
            _how_to_revoke(secret),
            _then_check(secret, since),
            escape.prose(secret.instead) or escape.NOTHING,
        )
        for secret, where in in_order(context)
    ]
    return table(("Secret", "How", "Then check", "Next time"), rows)


def _how_to_revoke(secret: SecretView) -> str:
    if secret.short_lived:
        return "expires with this job"
    return escape.link("revoke", secret.revoke) if secret.revoke else "revoke it where it was made"


def _then_check(secret: SecretView, since: str) -> str:
    if secret.short_lived:
        return escape.NOTHING
    return f"{escape.prose(secret.check) or 'access log'} since {since}"


def _home_line(context: Context) -> list[str]:
    """How to say that a leak was none."""
    leak = (context.facts.left or context.facts.leaks)[0]
    if leak.id == "secret-in-dns":
        words = "a DNS name is no place for a secret: every resolver on the way can read it."
        return ["", f"**If it was you:** {words}"]
    secret = context.secret(leak.secret)
    place = leak.destination.removesuffix(":443")
    homes = [home for home in secret.home if home != "nowhere"] + [place]
    safe = escape.pasteable_variable(secret.name) and all(map(escape.pasteable_rule, homes))
    if not safe:
        return []
    written = ", ".join(f'"{home}"' if set(home) & set("*[]{}") else home for home in homes)
    value = f"[{written}]" if len(homes) > 1 else written
    line = escape.code(f"secrets: {{{secret.name}: {value}}}")
    return ["", f"**If it was you:** say that this is its home: {line}."]


def _rest_of_step(context: Context) -> list[str]:
    leak = (context.facts.left or context.facts.leaks)[0]
    flows = [flow for flow in context.facts.egress if flow.step == leak.step]
    if not (leak.step and flows):
        return []
    return ["", *folded("What else this step did", flow_table(context, flows))]
