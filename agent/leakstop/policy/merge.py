# SPDX-License-Identifier: MIT
"""What was gathered, put together into one complete policy.

Files, inputs and flags are one authority (whoever can edit one can edit the others): lists
add up; of single values, and of a secret's home, the nearest wins: flag, then the last file,
then what that file extends.

Three steps, because asking package managers takes most of a second: ``gather`` reads and
checks everything, ``needed_managers`` says who has to be asked, ``build`` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from leakstop.model.finding import Severity
from leakstop.model.verdict import Leak, Mode, RuleRef
from leakstop.policy.advice import advise
from leakstop.policy.bulk import uncollected
from leakstop.policy.canonical import with_digest
from leakstop.policy.cases import build_cases
from leakstop.policy.expect import Case
from leakstop.policy.gather import (
    Gathered,
    Given,
    Loader,
    Overrides,
    PlacedHome,
    found_managers,
    gather,
    needed_managers,
)
from leakstop.policy.lookup import Indexes, Lookup
from leakstop.policy.rules import Home, Policy


@dataclass(frozen=True, slots=True)
class Built:
    """A policy, and what there is to say about it."""

    policy: Policy
    warnings: tuple[str, ...]
    """``file:line: warning: …``, each with its cure on a second line."""
    cases: tuple[Case, ...]
    """Of all files, if they were asked for."""
    steps: tuple[RuleRef, ...]
    """Those that the files name, each where it is written."""


@uncollected
def build(gathered: Gathered, indexes: Indexes, *, cases: bool = False) -> Built:
    """Put everything together.

    Args:
        gathered: what was written.
        indexes: the answers to ``needed_managers(gathered, cases=cases)``.
        cases: build those of ``expect`` too.

    Raises:
        PolicyError: a package manager's answer is missing or is no destination.
    """
    lookup = Lookup(gathered.presets, indexes)
    written = [entry for document in gathered.documents for entry in document.entries]
    written += gathered.allow
    rules = lookup.rules(written)
    policy = with_digest(
        Policy(
            mode=Mode(_nearest(gathered, "mode")),
            leak=Leak(_nearest(gathered, "leak")),
            fail_on=Severity(_nearest(gathered, "fail-on")),
            on_unsupported=_nearest(gathered, "on-unsupported"),
            lockdown=frozenset().union(*(each.lockdown for each in gathered.documents)),
            rules=(*rules, *lookup.asides, *lookup.runner()),
            homes={name: _home(placed, lookup) for name, placed in gathered.homes.items()},
            format_homes=_format_homes(gathered, indexes),
            sinks=lookup.sinks(),
            sources=_sources(gathered),
        )
    )
    expected = [case for document in gathered.documents for case in document.cases]
    built = build_cases(expected, lookup) if cases else ()
    warnings = tuple(dict.fromkeys((*lookup.warnings, *advise(policy))))
    steps = tuple(step for document in gathered.documents for step in document.steps)
    return Built(policy, warnings, built, steps)


def _nearest(gathered: Gathered, name: str) -> str:
    """The value of a key that has one; empty for ``on-unsupported`` if nobody wrote it."""
    flags, default = gathered.overrides, Policy()
    flag = {
        "mode": flags.mode,
        "leak": flags.leak,
        "fail-on": flags.fail_on,
        "on-unsupported": flags.on_unsupported,
    }[name]
    if flag:
        return str(getattr(flag, "value", flag))
    for document in reversed(gathered.documents):
        if name in document.choices:
            return document.choices[name]
    return {
        "mode": default.mode.value,
        "leak": default.leak.value,
        "fail-on": default.fail_on.value,
        "on-unsupported": default.on_unsupported,
    }[name]


def _home(placed: PlacedHome, lookup: Lookup) -> Home:
    nowhere = placed.home.text == ("nowhere",)
    rules = lookup.rules(placed.home.entries)
    return Home(nowhere, rules, placed.home.text, placed.placed_by)


def _format_homes(gathered: Gathered, indexes: Indexes) -> dict[str, Home]:
    """Without the warnings: that an index is not here only matters where somebody wrote it.

    A home of which nothing is here is left out, so that its secrets are unplaced: nobody knows
    where they belong.
    """
    lookup = Lookup(gathered.presets, indexes)
    homes = {words: _home(placed, lookup) for words, placed in gathered.format_homes.items()}
    return {words: home for words, home in homes.items() if home.nowhere or home.rules}


def _sources(gathered: Gathered) -> tuple[str, ...]:
    names = [document.name for document in gathered.documents]
    names += [given.name for given in gathered.overrides.allow if (given.text or "").strip()]
    return tuple(dict.fromkeys(names))


__all__ = [
    "Built",
    "Gathered",
    "Given",
    "Indexes",
    "Loader",
    "Overrides",
    "build",
    "found_managers",
    "gather",
    "needed_managers",
]
