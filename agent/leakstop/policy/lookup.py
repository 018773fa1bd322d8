# SPDX-License-Identifier: MIT
"""Words to rules: presets are opened, ``registry:`` and ``publish:`` replaced by what the
package managers answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from leakstop.errors import PolicyError
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.destination import Entry, Extras, Reference, parse
from leakstop.policy.place import DestinationError
from leakstop.policy.presets import BUILT_IN, RUNNER, SINKS, Presets
from leakstop.policy.rules import NamePlace, Place, Protocol, Reach, Rule
from leakstop.policy.scopes import EVERYBODY, Scope

Indexes = Mapping[str, tuple[str, ...]]
"""For each word such as ``registry:pip`` its destinations as text, with scheme and port."""


@dataclass(slots=True)
class Lookup:
    """Turns what was written into rules."""

    presets: Presets
    indexes: Indexes
    warnings: list[str] = field(default_factory=list)
    asides: list[Rule] = field(default_factory=list)
    """Quiet denials of what a package manager asks for on the way and does without."""

    def rules(self, entries: Iterable[Entry]) -> tuple[Rule, ...]:
        """The rules of ``entries``, in their order.

        Raises:
            PolicyError: a package manager's answer is missing or is no destination.
        """
        found: list[Rule] = []
        for entry in entries:
            if isinstance(entry, Rule):
                found.append(entry)
            elif entry.kind == "preset":
                found += self._preset(entry)
            else:
                found += self._index(entry)
        return tuple(found)

    def runner(self) -> tuple[Rule, ...]:
        """What is always allowed, to the runner itself and nobody else."""
        return self._built_in(RUNNER, Action.ALLOW, Scope(runner=True))

    def sinks(self) -> tuple[Rule, ...]:
        """Where anyone can store data, on whatever port."""
        return self._built_in(SINKS, Action.DENY)

    def _built_in(self, name: str, action: Action, scope: Scope = EVERYBODY) -> tuple[Rule, ...]:
        if name not in self.presets.names:
            return ()
        return self._open(Reference("preset", name, action, RuleRef(name, BUILT_IN), scope=scope))

    def _preset(self, word: Reference) -> tuple[Rule, ...]:
        rules = self._open(word)
        if word.action is Action.ALLOW or not word.scope.may_be_runner:
            return rules
        needed = [rule.place for rule in self.runner()]
        kept = tuple(rule for rule in rules if not _meet_any(rule.place, needed))
        for rule in dict.fromkeys(str(rule.place) for rule in rules if rule not in kept):
            self.warnings.append(
                f"{word.ref.place()}: warning: `{rule}` stays out of `deny: {word.word}`\n"
                "   = the runner keeps its own logs and artifacts there; in block mode only its "
                f'names are open, else write `deny: "{rule}"`'
            )
        return kept

    def _open(self, word: Reference) -> tuple[Rule, ...]:
        found: list[Rule] = []
        for entry in self.presets.entries(word.name, word.action):
            origin = RuleRef(entry.ref.text, word.ref.source, word.ref.line, word.word)
            quiet, why = word.quiet or entry.quiet, word.why or entry.why
            placed = replace(entry, ref=origin, quiet=quiet, why=why, scope=word.scope)
            if isinstance(placed, Rule):
                found.append(placed)
            else:
                found += self._index(placed)
        return tuple(found)

    def _index(self, word: Reference) -> Iterator[Rule]:
        via = word.ref.via or word.word
        if word.word not in self.indexes:
            raise PolicyError(
                f"nobody asked what `{word.word}` means on this machine", where=word.ref.place()
            )
        if not self.indexes[word.word]:
            self.warnings.append(
                f"{word.ref.place()}: warning: `{word.word}` names no host on this machine\n"
                f"   = nothing is added by it; is {word.name} installed?"
            )
        for text in self.indexes[word.word]:
            origin = RuleRef(text, word.ref.source, word.ref.line, via)
            extras = Extras(quiet=word.quiet, why=word.why, scope=word.scope)
            try:
                entries = parse(text, word.action, origin, extras=extras, words=False)
            except DestinationError as error:
                raise PolicyError(
                    f"{word.name} is configured for `{text}`, which no rule can name",
                    why=error.what,
                    fix=error.fix,
                    where=word.ref.place(),
                ) from error
            for entry in entries:
                if isinstance(entry, Rule):
                    yield entry
                    if word.word == "registry:apt" and word.action is Action.ALLOW:
                        self.asides += _service_lookup(entry)


def _service_lookup(rule: Rule) -> Iterator[Rule]:
    """Refuse, quietly, the question that apt asks before its index and does without.

    apt looks for ``_http._tcp.HOST`` before HOST (apt-transport-http(1), ``EnableSrvRecords``).
    An answer would lead to a host that nobody named.
    """
    scheme = {Protocol.HTTP: "http", Protocol.TLS: "https"}.get(rule.protocol)
    if scheme and isinstance(rule.place, NamePlace) and rule.place.reach is Reach.EXACT:
        yield Rule(
            Action.DENY,
            NamePlace(f"_{scheme}._tcp.{rule.place.name}"),
            Protocol.DNS,
            (),
            rule.ref,
            quiet=True,
            why="apt asks for service records first, and does without",
        )


def managers(entries: Iterable[Entry], presets: Presets) -> frozenset[str]:
    """The words among ``entries`` that a package manager has to be asked for."""
    found: set[str] = set()
    for entry in entries:
        if not isinstance(entry, Reference):
            continue
        if entry.kind == "preset":
            found |= managers(presets.entries(entry.name, entry.action), presets)
        else:
            found.add(entry.word)
    return frozenset(found)


def meet(one: Place, other: Place) -> bool:
    """Whether two places have something in common."""
    if isinstance(one, NamePlace) and isinstance(other, NamePlace):
        return one.covers(example(other)) or other.covers(example(one))
    if isinstance(one, NamePlace) or isinstance(other, NamePlace):
        return False
    return one.network.version == other.network.version and one.network.overlaps(other.network)


def example(place: NamePlace) -> str:
    """A name that ``place`` covers."""
    return place.name if place.reach is Reach.EXACT else f"any.{place.name}"


def _meet_any(place: Place, others: Iterable[Place]) -> bool:
    return any(meet(place, other) for other in others)


__all__ = ["Indexes", "Lookup", "example", "managers", "meet"]
