# SPDX-License-Identifier: MIT
"""The words that a proposal is written in, asked before the job can change their meaning.

A job may reconfigure a package manager: asked afterwards, it could hide any host behind the
word ``python``. So the managers are asked as the guard begins, as the user whose configuration
counts, beside everything else, and nobody waits long for a slow one.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Mapping, Sequence

from leakstop.cli import prepare
from leakstop.cli.confined import Aside, invoking_user
from leakstop.errors import PolicyError
from leakstop.model.report import Report
from leakstop.model.verdict import Action, Mode, Reason
from leakstop.policy.rules import Policy, Rule
from leakstop.report import vocabulary
from leakstop.report.vocabulary import Vocabulary

PATIENCE_S = 1.0
"""How long an answer is waited for when there is nothing else to do; most take 0.6 s."""

_LOOKUP = "leakstop.policy.lookup"


class Asking:
    """Package managers are being asked."""

    def __init__(self, aside: Aside | None) -> None:
        self._aside = aside

    @classmethod
    def about(cls, policy: Policy | None) -> Asking:
        """Fork who will ask, once released, for what a proposal may need beside ``policy``.

        In block mode that is nothing: who blocks has a policy, and adds single lines.
        """
        if policy is None or policy.mode is not Mode.AUDIT:
            return cls(None)
        indexes = vocabulary.unresolved(policy)
        return cls(Aside(invoking_user(), _load, lambda: _answer(indexes)))

    def release(self) -> None:
        """Let it ask. It has imported everything by then."""
        if self._aside is not None:
            self._aside.release()

    def answer(self) -> str:
        """The vocabulary as text; empty if nothing was asked, or no answer comes in time."""
        answered = self._aside.result(PATIENCE_S) if self._aside is not None else ""
        self.close()
        return answered if isinstance(answered, str) else ""

    def close(self) -> None:
        """Ask no further."""
        if self._aside is not None:
            self._aside.close()


def is_needed(report: Report) -> bool:
    """Whether ``report`` has anything that a word could stand for."""
    return any(flow.reason is Reason.NOT_NAMED for flow in report.flows)


def read(text: str) -> Vocabulary:
    """Read an answer back. Without a good one, hosts are shown as they are."""
    with contextlib.suppress(PolicyError):
        return vocabulary.from_text(text) if text else Vocabulary()
    return Vocabulary()


def _load() -> None:
    importlib.import_module("leakstop.sensor.indexes")
    with contextlib.suppress(ImportError):  # no YAML parser; then only presets are missing
        importlib.import_module(_LOOKUP)
    prepare.preset_texts()


def _answer(indexes: Sequence[str]) -> str:
    from leakstop.sensor.indexes import resolve

    destinations = resolve(frozenset(indexes))
    presets = _presets(destinations) if _LOOKUP in sys.modules else {}
    return vocabulary.to_text(Vocabulary(presets, destinations))


def _presets(destinations: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Rule, ...]]:
    from leakstop.policy.lookup import Lookup
    from leakstop.policy.presets import Presets

    presets = Presets(prepare.preset_texts())
    known: dict[str, tuple[str, ...]] = dict.fromkeys(vocabulary.INDEX_WORDS, ())
    lookup = Lookup(presets, known | dict(destinations))
    rules: dict[str, tuple[Rule, ...]] = {}
    for name in vocabulary.proposable(presets.names):
        # An index that no rule can name stands for nothing.
        with contextlib.suppress(PolicyError):
            rules[name] = lookup.rules(presets.entries(name, Action.ALLOW))
    return rules


__all__ = ["Asking", "is_needed", "read"]
