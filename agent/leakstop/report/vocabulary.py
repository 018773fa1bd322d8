# SPDX-License-Identifier: MIT
"""Words that stand for many hosts: presets and the package managers' indexes.

A person reads ``python``, not the hosts behind it: the word stays true when a mirror
moves, and a list of hosts would not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from leakstop.errors import PolicyError
from leakstop.model.flow import Flow
from leakstop.model.report import FlowRecord
from leakstop.policy.groups import rules_from_document, rules_to_document
from leakstop.policy.match import reaches
from leakstop.policy.rules import NamePlace, Policy, Rule

_PRESET_OF_INDEX = {"registry:pip": "python", "registry:npm": "node", "registry:apt": "debian"}

# `runner` is always in force, the other two are for `deny`: none is ever proposed.
_NEVER_PROPOSED = frozenset({"runner", "metadata", "public-sinks"})

_PRESET = re.compile(r"[a-z][a-z-]{0,30}")

INDEX_WORDS = tuple(_PRESET_OF_INDEX)
"""The words that a package manager has to be asked for."""


def proposable(presets: Iterable[str]) -> list[str]:
    """Those of ``presets`` that a proposal may name."""
    return sorted(set(presets) - _NEVER_PROPOSED)


def unresolved(policy: Policy) -> tuple[str, ...]:
    """Those of ``INDEX_WORDS`` that no rule of ``policy`` was made from."""
    used = {rule.ref.via for rule in policy.rules}
    return tuple(word for word, preset in _PRESET_OF_INDEX.items() if not {word, preset} & used)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that this machine and this release know."""

    presets: Mapping[str, Sequence[Rule]] = field(default_factory=dict)
    """By name."""
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Destinations by word, e.g. ``registry:pip`` → ``https://host:port``, as asked."""

    def index_word(self, host: str) -> str:
        """The word for the package index at ``host``, or empty."""
        for word, destinations in self.indexes.items():
            if host and host in {_host_of(text) for text in destinations}:
                return _PRESET_OF_INDEX.get(word, word)
        return ""

    def fold(self, flows: Iterable[FlowRecord]) -> dict[str, str]:
        """Preset by host, for presets that allow flows towards at least two hosts.

        One host of a preset stays a host: the word would allow more than it saves.
        """
        wanted = list(flows)
        words: dict[str, str] = {}
        for preset in self.presets:
            if preset in _NEVER_PROPOSED:
                continue
            covered = {flow.host for flow in wanted if self.allows(preset, flow)} - words.keys()
            if len(covered) > 1:
                words.update(dict.fromkeys(covered, preset))
        return words

    def allows(self, preset: str, flow: FlowRecord) -> bool:
        """Whether ``preset`` names ``flow``, its port and protocol too."""
        names = (flow.host,) if flow.host else ()
        rules = [rule for rule in self.presets[preset] if isinstance(rule.place, NamePlace)]
        seen = Flow(flow.protocol, flow.port, names=names, stream=flow.stream, shown=flow.shown)
        return reaches(rules, seen) is not None

    def place(self, flow: FlowRecord) -> str:
        """What people are shown as the place of ``flow``: a word, else the destination."""
        if flow.rule and flow.rule.via:
            return flow.rule.via
        return self.index_word(flow.host) or flow.destination


def to_text(vocabulary: Vocabulary) -> str:
    """Write ``vocabulary`` as JSON; its rules in canonical form, so that reading needs no YAML."""
    document = {
        "presets": {name: rules_to_document(rules) for name, rules in vocabulary.presets.items()},
        "indexes": vocabulary.indexes,
    }
    return json.dumps(document, separators=(",", ":"))


def from_text(text: str) -> Vocabulary:
    """Read what ``to_text`` wrote.

    Raises:
        PolicyError: it is something else. Its words reach a proposal, so none is made up.
    """
    try:
        document = json.loads(text)
        presets, indexes = dict(document["presets"]), dict(document["indexes"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _refused("it is no JSON object of that kind") from error
    if unknown := [name for name in presets if not _PRESET.fullmatch(name)]:
        raise _refused(f"no preset is called {unknown[0]!r}")
    if unknown := [word for word in indexes if word not in _PRESET_OF_INDEX]:
        raise _refused(f"no package manager answers to {unknown[0]!r}")
    return Vocabulary(
        presets={name: rules_from_document(rules) for name, rules in presets.items()},
        indexes={word: _texts(items) for word, items in indexes.items()},
    )


def _texts(items: object) -> tuple[str, ...]:
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _refused("an index with something else than text in it")
    return tuple(items)


def _refused(what: str) -> PolicyError:
    return PolicyError(
        f"the vocabulary is refused: {what}",
        why="it was changed on its way, or another version of Leakstop wrote it",
    )


def _host_of(destination: str) -> str:
    """The name in ``https://host:port``, or in ``host``."""
    place = destination.rpartition("://")[2].partition("/")[0]
    return place.partition(":")[0].lower()
