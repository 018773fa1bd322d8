# SPDX-License-Identifier: MIT
"""``leakstop explain POLICY HOST[:PORT]``: what a policy does there, and which line decides."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from leakstop.cli import options, prepare
from leakstop.cli.confined import Ask, confined, reader
from leakstop.cli.options import Text, Wish
from leakstop.errors import UsageError

_WHO = ("step", "process", "container")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("policy", metavar="POLICY", help="a policy file")
    parser.add_argument(
        "destination", metavar="HOST[:PORT]", help="as in a policy, e.g. udp://192.0.2.53:53"
    )
    parser.add_argument("--step", metavar="NAME", help="ask for this step")
    parser.add_argument("--process", metavar="PATH", help="ask for this executable")
    parser.add_argument("--container", metavar="NAME", help="ask for this image or container")


def run(args: argparse.Namespace) -> int:
    """Print the explanation."""
    who = {key: (text,) for key in _WHO if (text := getattr(args, key))}

    def work(ask: Ask) -> Any:
        wish = options.Wish(policies=(Text(args.policy),))
        return explanations(wish, args.destination, who, ask)

    print("\n\n".join(confined(reader(), prepare.load_compiler, work, prepare.answer)))
    return 0


def explanations(
    wish: Wish, destination: str, who: Mapping[str, tuple[str, ...]], ask: Ask
) -> list[str]:
    """One explanation for each flow that ``destination`` stands for, then what holds for all.

    Args:
        wish: where the policy is.
        destination: as in a policy.
        who: whose flow it is, by keys of a rule; nobody whom a scope means where none is given.
        ask: who asks the package managers.

    Raises:
        UsageError: it is no destination.
    """
    from leakstop.model.verdict import Action, RuleRef
    from leakstop.policy.cases import sample, who_of
    from leakstop.policy.destination import parse
    from leakstop.policy.explain import describe_lockdown, explain
    from leakstop.policy.place import DestinationError
    from leakstop.policy.rules import Rule
    from leakstop.policy.scopes import Scope

    built = prepare.build(wish, ask)
    try:
        found = parse(destination, Action.ALLOW, RuleRef(destination, "HOST"), words=False)
    except DestinationError as error:
        raise UsageError(error.what, why=error.why, fix=error.fix, where="HOST") from error
    somebody = who_of(Scope(**who))  # type: ignore[arg-type]
    flows = [sample(rule, somebody) for rule in found if isinstance(rule, Rule)]
    told = [str(explain(built.policy, flow)) for flow in flows]
    return [*told, *filter(None, [describe_lockdown(built.policy)])]


__all__ = ["configure", "explanations", "run"]
