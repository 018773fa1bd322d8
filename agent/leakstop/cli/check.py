# SPDX-License-Identifier: MIT
"""``leakstop check POLICY...``: everything that can be said before a job runs.

Each policy by itself: is it valid, do its ``expect`` cases hold, what is probably not
meant. Then the workflows of this repository: is the guard where it can guard.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leakstop.cli import prepare
from leakstop.cli.confined import Ask, confined, reader
from leakstop.cli.options import Text, Wish
from leakstop.errors import ExitCode, PolicyError

Texts = Sequence[tuple[str, str]]
"""Workflows by what messages call them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("policies", metavar="POLICY", nargs="+", help="a policy file")
    parser.add_argument(
        "--guard",
        metavar="OWNER/NAME",
        action="append",
        default=[],
        help="this action is the guard, too, such as an organisation's wrapper",
    )


def run(args: argparse.Namespace) -> int:
    """Print what was found. 3: a policy does not hold; 10: a guard does not guard."""

    def load() -> None:
        prepare.load_compiler()
        importlib.import_module("leakstop.cli.named_steps")

    def work(ask: Ask) -> Any:
        texts = tuple(_texts())
        found = [*(_policy(name, ask, texts, args.guard) for name in args.policies)]
        found.append(_workflows(texts, args.guard))
        return [line for _, lines in found for line in lines], [code for code, _ in found]

    lines, codes = confined(reader(), load, work, prepare.answer)
    print("\n".join(lines))
    return next((int(code) for code in codes if code), 0)


def _policy(name: str, ask: Ask, texts: Texts, guards: list[str]) -> tuple[int, list[str]]:
    """Check one policy: its code, and what there is to say."""
    from leakstop.cli import named_steps, workflows
    from leakstop.policy import expect

    try:
        built = prepare.build(Wish(policies=(Text(name),)), ask, cases=True)
    except PolicyError as error:
        return ExitCode.POLICY, [str(error)]
    failures = expect.run(built.policy, built.cases)
    files = [workflows.read_steps(file, text, guards=guards) for file, text in texts]
    remarks = named_steps.remarks(built, name, files)
    lines = list(dict.fromkeys((*built.warnings, *remarks)))
    lines += [f"{failure}\n   = change the rule or the expectation" for failure in failures]
    kept = len(built.cases) - len(failures)
    verdict = "expectations do not hold" if failures else "ok"
    lines.append(
        f"{name}: {verdict} ({kept} of {len(built.cases)} expectations, {built.policy.digest})"
    )
    return (ExitCode.POLICY if failures else ExitCode.CLEAN), lines


def _workflows(texts: Texts, guards: list[str]) -> tuple[int, list[str]]:
    """Check the workflows of the repository around the working directory."""
    from leakstop.cli import workflows

    remarks = [
        remark for name, text in texts for remark in workflows.inspect(name, text, guards=guards)
    ]
    code = ExitCode.FINDINGS if any(remark.grave for remark in remarks) else ExitCode.CLEAN
    return code, [str(remark) for remark in remarks]


def _texts() -> Iterator[tuple[str, str]]:
    """The workflows of the repository around the working directory, by their names."""
    from leakstop.cli import workflows

    here = Path.cwd()
    for file in workflows.find_workflows(here):
        name = str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
        yield name, file.read_text("utf-8", errors="replace")


__all__ = ["configure", "run"]
