# SPDX-License-Identifier: MIT
"""The secrets of a job as reports show them: those that were declared, and those found later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from leakstop.engine.lineage import Step
from leakstop.model.event import SecretFound
from leakstop.model.report import SecretView
from leakstop.secrets.formats import described, of_kind

_LIMIT = 4096
"""Secrets found; a job that makes up more wants to fill the memory."""
_STEPS = 16
"""Steps remembered of each."""


class Inventory:
    """Grows while the job runs. Holds no value."""

    def __init__(self, declared: Iterable[SecretView]) -> None:
        self._views = {view.name: view for view in declared}
        self._room = _LIMIT
        self._steps: dict[str, dict[Step, None]] = {}
        self._unlisted = 0

    @property
    def by_name(self) -> Mapping[str, SecretView]:
        """What is known by now."""
        return self._views

    @property
    def unlisted(self) -> int:
        """Secrets found that the list has no room for."""
        return self._unlisted

    def found(self, event: SecretFound, step: Step) -> None:
        """Take in a secret that was found, or one that is known, in another step."""
        if event.name not in self._views:
            if not self._room:
                self._unlisted += 1
                return
            self._room -= 1
            self._views[event.name] = _view(event)
        steps = self._steps.setdefault(event.name, {})
        if event.pid and len(steps) < _STEPS:
            steps[step] = None

    def listed(self) -> tuple[SecretView, ...]:
        """Return all of them, with the names that their steps have by now."""
        return tuple(replace(view, steps=self._named(name)) for name, view in self._views.items())

    def _named(self, name: str) -> tuple[str, ...]:
        steps = self._steps.get(name, {})
        return tuple(dict.fromkeys(step.name for step in steps if step.name))


def _view(event: SecretFound) -> SecretView:
    plain = SecretView(
        name=event.name,
        home=event.home,
        kind=event.format,
        revoke="",
        placed_by=event.placed_by,
        size=event.size,
        digest=event.digest,
        source=event.source,
        guessed=event.guessed,
    )
    return described(plain, of_kind(event.format))


__all__ = ["Inventory"]
