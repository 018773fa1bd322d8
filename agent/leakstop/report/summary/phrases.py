# SPDX-License-Identifier: MIT
"""Parts of sentences that several sections share."""

from __future__ import annotations

from leakstop.model.process import ProcessView
from leakstop.model.report import FlowRecord, SecretView
from leakstop.report import escape
from leakstop.report.context import BUILT_IN, Context, inside, starter
from leakstop.report.strange import named_but, perhaps_for, through

_MAX_SECRETS = 30


def home_words(secret: SecretView) -> str:
    """Where a secret belongs, as the end of a sentence."""
    if not secret.home:
        return "nobody has said where it belongs"
    if secret.home == ("nowhere",):
        return "it belongs nowhere"
    return "its home is " + ", ".join(home_word(home) for home in secret.home)


def home_word(home: str) -> str:
    """One home, as people read it."""
    return "this server" if home == "github" else escape.cell(home)


def step_and_command(step: str, process: ProcessView) -> str:
    """``step › command`` in a table cell, and in which container."""
    command = escape.cell(process.command) + inside(process, escape.cell)
    return f"{escape.cell(step)} › {command}" if step else command


def place_cell(flow: FlowRecord) -> str:
    """Where a flow went, in a table cell."""
    return escape.cell(flow.destination) + through(flow, escape.cell)


def command_chain(flow: FlowRecord) -> str:
    """``pytest › curl`` in a table cell."""
    parent = starter(flow.process)
    command = escape.cell(flow.process.command) + inside(flow.process, escape.cell)
    command += perhaps_for(flow, escape.cell)
    return f"{escape.cell(parent)} › {command}" if parent else command


def named_in(flow: FlowRecord) -> str:
    """Where the rule for a flow was written, in a table cell."""
    if flow.rule is None:
        if flow.service:
            return "a service of this machine, not the job"
        if flow.what:
            return "no rule can name it"
        return "named" if named_but(flow) else "not named"
    if flow.rule.source == BUILT_IN:
        return f"{BUILT_IN}: {escape.cell(flow.rule.via or flow.rule.text)}"
    return escape.cell(flow.rule.place())


def watched_words(context: Context) -> str:
    """The secrets that were watched and the policy that was in force, in two sentences."""
    watched = context.report.secrets
    secrets = ", ".join(
        f"{escape.code(secret.name)} ({_home_note(context, secret)})"
        for secret in watched[:_MAX_SECRETS]
    )
    if len(watched) > _MAX_SECRETS:
        secrets += f" and {len(watched) - _MAX_SECRETS} more"
    policy = context.report.policy
    digest = escape.code(policy.digest[: len("sha256:") + 8])
    sources = ", ".join(escape.code(source) for source in policy.sources)
    written = f"Policy {digest}" + (f" = {sources}" if sources else ", nothing written")
    unguarded = unguarded_words(context)
    return f"Secrets watched: {secrets or 'none'}. {written}." + (unguarded and f" {unguarded}")


def _home_note(context: Context, secret: SecretView) -> str:
    if secret.canary:
        return "a canary"
    if secret.home == ("nowhere",):
        return "belongs nowhere"
    if secret.home:
        return "home: " + ", ".join(home_word(home) for home in secret.home)
    seen = (flow.destination for flow in context.facts.egress if secret.name in flow.secrets)
    places = ", ".join(escape.code(place) for place in dict.fromkeys(seen))
    return f"no home named; went to {places}" if places else "no home named"


def notes_list(context: Context) -> list[str]:
    """What could not be seen, a line each."""
    return [f"- {escape.prose(note)}" for note in context.report.coverage.notes]


def commit_line(context: Context) -> list[str]:
    """At which commit this ran, as a paragraph after others; nothing where it is not known."""
    commit = context.commit
    return ["", f"This run is of commit {escape.code(commit)}."] if commit else []


def unguarded_words(context: Context) -> str:
    """The jobs of this workflow that have no guard, as a sentence; empty where unknown."""
    jobs = ", ".join(escape.code(job) for job in context.report.job.unguarded)
    return f"Not guarded in this workflow: {jobs}." if jobs else ""
