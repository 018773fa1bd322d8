# SPDX-License-Identifier: MIT
"""How many names below a wildcard a job may ask for.

A question carries what its name says to whoever answers for the zone, found or not. Below a
wildcard anything may be said, so that is rationed, by different names and by their bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leakstop.model.verdict import Action
from leakstop.policy.rules import NamePlace, Reach, Rule

NAMES = 50
"""For each wildcard whose rules do not say ``names``."""
NAMES_MAX = 10_000
_BYTES = 4096
_BYTES_PER_NAME = 82
"""As many for each name as ``NAMES`` of them have together, rounded up."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a job may ask for below one wildcard."""

    place: NamePlace
    names: int
    """Different names."""

    @property
    def bytes(self) -> int:
        """Of the labels in front of the wildcard's own name, with the dots between them."""
        return max(_BYTES, _BYTES_PER_NAME * self.names)


def budgets(rules: Iterable[Rule]) -> tuple[Budget, ...]:
    """One budget for each allowed wildcard; of several rules for it the most generous counts."""
    found: dict[NamePlace, int] = {}
    for rule in rules:
        place = rule.place
        if (
            rule.action is Action.ALLOW
            and isinstance(place, NamePlace)
            and place.reach is not Reach.EXACT
        ):
            found[place] = max(found.get(place, 0), rule.names)
    return tuple(Budget(place, names or NAMES) for place, names in found.items())


__all__ = ["NAMES", "NAMES_MAX", "Budget", "budgets"]
