# SPDX-License-Identifier: MIT
"""Named sets of destinations: the files in ``policies/``, used as bare words.

A preset is an ordinary policy file, so it can be read, tested and run on its own. As a word
it gives what it allows, under ``deny`` too: ``deny: metadata`` closes what
``allow: metadata`` would open. Where the texts lie is the caller's business.
"""

from __future__ import annotations

from collections.abc import Mapping

from leakstop.model.verdict import Action
from leakstop.policy.destination import Entry
from leakstop.policy.document import Document, read

NAMES = ("runner", "github", "python", "node", "debian", "metadata", "public-sinks")
"""The presets of this release; the files are ``policies/NAME.yml``."""

RUNNER = "runner"
"""What the runner itself needs: always allowed."""

SINKS = "public-sinks"
"""Places where anyone can store data: always known, denied only when a policy says so."""

BUILT_IN = "built in"
"""``RuleRef.source`` of what no policy wrote."""


class Presets:
    """The presets by name, each read when it is first used."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Take the text of each preset by its name."""
        self._texts = texts
        self._read: dict[tuple[str, Action], Document] = {}

    @property
    def names(self) -> frozenset[str]:
        """All there are."""
        return frozenset(self._texts)

    def entries(self, name: str, action: Action) -> tuple[Entry, ...]:
        """What the preset allows, as rules of ``action``.

        Raises:
            PolicyErrors: the preset's file is wrong.
            KeyError: there is no such preset.
        """
        return self.document(name, action).entries

    def document(self, name: str, action: Action = Action.ALLOW) -> Document:
        """The preset's file. A preset names no other preset, so there is no circle."""
        key = (name, action)
        if key not in self._read:
            self._read[key] = read(
                f"policies/{name}.yml", self._texts[name], presets=(), allow_as=action
            )
        return self._read[key]


__all__ = ["BUILT_IN", "NAMES", "RUNNER", "SINKS", "Presets"]
