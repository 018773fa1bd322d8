# SPDX-License-Identifier: MIT
"""YAML to paste: a whole step, a whole policy file, or lines for one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from leakstop.policy.scopes import EVERYBODY
from leakstop.report import escape
from leakstop.report.context import Context
from leakstop.report.proposal import Line, Placed

FALLBACK_REF = "OWNER/leakstop@v1"
"""Stands for this action where its own name is not known."""

_REF = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_./-]+@[A-Za-z0-9_./-]+")
_COLUMN = 32
_MAX_LINES = 500


def step(context: Context) -> str:
    """The Leakstop step of a workflow that had no policy yet, with all that this run used."""
    proposal = context.proposal
    ref = context.report.job.action_ref
    mode = context.report.mode.value
    lines = [
        f"      - uses: {ref if _REF.fullmatch(ref) else FALLBACK_REF}",
        "        with:",
        f"          mode: {mode}" + ("          # block, when runs stay clean" * (mode == "audit")),
        "          allow: |",
        *_inline(proposal.lines, "            "),
    ]
    secrets = [_input_line(placed) for placed in proposal.secrets if _needs_input(placed)]
    if secrets:
        lines += ["          secrets: |", *(f"            {text}" for text in secrets)]
    return escape.fence("\n".join(lines), "yaml")


def policy(context: Context) -> str:
    """A first policy file, with all that this run used."""
    proposal = context.proposal
    lines = [
        "version: 1",
        f"mode: {context.report.mode.value}",
        "allow:",
        *_items(proposal.lines),
    ]
    homes = _homes([placed for placed in proposal.secrets if placed.home])
    return escape.fence("\n".join([*lines, *(["secrets:", *homes] if homes else [])]), "yaml")


def allow_lines(context: Context, lines: Sequence[Line]) -> str:
    """Lines for the ``allow`` that exists: a list in a policy, plain text, which is for everybody,
    in an input."""
    text = _indented(lines, "") if context.policy_is_text else _items(lines)
    return escape.fence("\n".join(text), "yaml")


def home_lines(context: Context) -> str:
    """Lines for the ``secrets`` that exist; empty when no home is known."""
    placed = [each for each in context.proposal.secrets if each.home and not each.secret.home]
    found = [_input_line(each) for each in placed] if context.policy_is_input else _homes(placed)
    return escape.fence("\n".join(found), "yaml") if found else ""


def _inline(lines: Sequence[Line], indent: str) -> list[str]:
    """A whole input ``allow``. A single line stands without its comment: the policy could not tell
    it from a folded text (``>``), in which a comment swallows what follows, and refuses it."""
    return [indent + lines[0].word] if len(lines) == 1 else _indented(lines, indent)


def _items(lines: Sequence[Line]) -> list[str]:
    return _indented([replace(line, word=_item(line)) for line in lines], "  - ")


def _item(line: Line) -> str:
    return line.rule if line.scope != EVERYBODY else _scalar(line.word)


def _homes(secrets: Sequence[Placed]) -> list[str]:
    return [f"  {placed.secret.name}: {_scalar(placed.home)}" for placed in secrets]


def _scalar(word: str) -> str:
    """``word`` as YAML reads it: ``*`` would be an alias, a bracket a list."""
    return f'"{word}"' if set(word) & set("*[]{}") else word


def _indented(lines: Sequence[Line], indent: str) -> list[str]:
    width = max([_COLUMN, *(len(line.word) + 2 for line in lines)])
    shown = [
        indent + (f"{line.word:<{width}}# {line.evidence}" if line.evidence else line.word)
        for line in lines[:_MAX_LINES]
    ]
    if len(lines) > _MAX_LINES:
        left_out = f"# and {len(lines) - _MAX_LINES:,} more: see report.json"
        shown.append(indent.removesuffix("- ") + left_out)
    return shown


def _needs_input(placed: Placed) -> bool:
    """Whether the secret is known only because the step's input says so."""
    return not placed.secret.short_lived and escape.pasteable_variable(placed.secret.name)


def _input_line(placed: Placed) -> str:
    name = placed.secret.name
    home = f"@{placed.home}" if placed.home else ""
    return f"{name}{home}=${{{{ secrets.{name} }}}}"
