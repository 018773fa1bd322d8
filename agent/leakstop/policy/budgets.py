# SPDX-License-Identifier: MIT
"""How many names of a pattern a job may ask for.

A question carries what its name says to whoever answers for the zone, found or not. Below a
wildcard anything may be said, so that is rationed, by different names and by their bytes.
Numbered names are rationed only where a rule says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import NamePlace, Reach, Rule

NAMES = 50
"""For each wildcard whose rules do not say ``names``."""
NAMES_MAX = 10_000
_BYTES = 4096
_BYTES_PER_NAME = 82
"""As many for each name as ``NAMES`` of them have together, rounded up."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a job may ask for of one pattern."""

    places: tuple[NamePlace, ...]
    """A wildcard alone, or the numbered names."""
    names: int
    """Different names."""

    @property
    def bytes(self) -> int:
        """Of the labels in front of the wildcard's own name, with the dots between them; a
        numbered name has none."""
        return max(_BYTES, _BYTES_PER_NAME * self.names)


def budgets(rules: Iterable[Rule]) -> tuple[Budget, ...]:
    """One budget for each allowed wildcard, where of several rules the most generous counts, and
    one for each text of numbered names that says how many.

    A name that a rule allows without a ration costs nothing.
    """
    wild: dict[NamePlace, int] = {}
    numbered: dict[RuleRef, tuple[int, dict[NamePlace, None]]] = {}
    free: set[NamePlace] = set()
    for rule in rules:
        place = rule.place
        if rule.action is not Action.ALLOW or not isinstance(place, NamePlace):
            continue
        if place.reach is not Reach.EXACT:
            wild[place] = max(wild.get(place, 0), rule.names)
        elif rule.names:
            numbered.setdefault(rule.ref, (rule.names, {}))[1][place] = None
        else:
            free.add(place)
    rationed = (
        (names, tuple(p for p in places if p not in free)) for names, places in numbered.values()
    )
    return (
        *(Budget((place,), names or NAMES) for place, names in wild.items()),
        *(Budget(places, names) for names, places in rationed if places),
    )


__all__ = ["NAMES", "NAMES_MAX", "Budget", "budgets"]
