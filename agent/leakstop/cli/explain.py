# SPDX-License-Identifier: MIT
"""``leakstop explain POLICY HOST[:PORT]``: what a policy does there, and which line decides."""

from __future__ import annotations

import argparse
from typing import Any

from leakstop.cli import options, prepare
from leakstop.cli.confined import Ask, confined, reader
from leakstop.cli.options import Text, Wish
from leakstop.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("policy", metavar="POLICY", help="a policy file")
    parser.add_argument(
        "destination", metavar="HOST[:PORT]", help="as in a policy, e.g. udp://192.0.2.53:53"
    )


def run(args: argparse.Namespace) -> int:
    """Print the explanation."""

    def work(ask: Ask) -> Any:
        return explanations(options.Wish(policies=(Text(args.policy),)), args.destination, ask)

    print("\n\n".join(confined(reader(), prepare.load_compiler, work, prepare.answer)))
    return 0


def explanations(wish: Wish, destination: str, ask: Ask) -> list[str]:
    """One explanation for each flow that ``destination`` stands for.

    Raises:
        UsageError: it is no destination.
    """
    from leakstop.model.verdict import Action, RuleRef
    from leakstop.policy.cases import sample
    from leakstop.policy.destination import parse
    from leakstop.policy.explain import explain
    from leakstop.policy.place import DestinationError
    from leakstop.policy.rules import Rule

    built = prepare.build(wish, ask)
    try:
        found = parse(destination, Action.ALLOW, RuleRef(destination, "HOST"), words=False)
    except DestinationError as error:
        raise UsageError(error.what, why=error.why, fix=error.fix, where="HOST") from error
    return [str(explain(built.policy, sample(rule))) for rule in found if isinstance(rule, Rule)]


__all__ = ["configure", "explanations", "run"]
