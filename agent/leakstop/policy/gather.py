# SPDX-License-Identifier: MIT
"""Everything that a policy is made of, read and checked: files with what they extend, inputs,
flags. Words are not looked up yet; no file is touched, a loader is handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from leakstop.errors import PolicyError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Leak, Mode
from leakstop.policy.bulk import uncollected
from leakstop.policy.destination import Entry
from leakstop.policy.document import Document, Extended, read
from leakstop.policy.inline import HomeText, read_home, read_inline
from leakstop.policy.lookup import managers
from leakstop.policy.presets import BUILT_IN, Presets
from leakstop.policy.problem import PolicyErrors, Problem

Loader = Callable[[str], str]
"""Reads a policy file by its path; an ``OSError`` becomes a message."""

FILES = 32
"""Most files of one policy, with all that they extend."""


@dataclass(frozen=True, slots=True)
class Given:
    """A text as it is handed in."""

    name: str
    """Path, or what messages call the text."""
    text: str | None = None
    """The text itself; ``None``: load it by its name."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What flags and inputs say besides the files."""

    mode: Mode | None = None
    leak: Leak | None = None
    fail_on: Severity | None = None
    on_unsupported: str = ""
    allow: tuple[Given, ...] = ()
    """Destinations in the inline form."""
    homes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By secret name, from ``NAME@home=value``: nearer than a file."""
    format_homes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By secret name, from the shape of its value: where nothing else places it."""
    found_homes: tuple[tuple[str, ...], ...] = ()
    """Those that formats give to secrets that may be found while the job runs."""


@dataclass(frozen=True, slots=True)
class PlacedHome:
    """A secret's home and who said so."""

    home: HomeText
    placed_by: str
    """``policy``, ``input`` or ``format``."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that was written."""

    documents: tuple[Document, ...]
    """Farthest first: what is extended stands before what extends it."""
    allow: tuple[Entry, ...]
    """From inputs and flags."""
    homes: Mapping[str, PlacedHome]
    """By secret name, the nearest of each."""
    format_homes: Mapping[str, PlacedHome]
    """By their words."""
    overrides: Overrides
    presets: Presets


@uncollected
def gather(
    sources: Sequence[Given],
    *,
    loader: Loader,
    presets: Presets,
    overrides: Overrides | None = None,
) -> Gathered:
    """Read everything that a policy is made of.

    Raises:
        PolicyErrors: with everything that is wrong, in all files and inputs.
        PolicyError: a file cannot be read, or extends itself.
    """
    flags = overrides or Overrides()
    gatherer = _Gatherer(loader, presets)
    for source in sources:
        gatherer.add(source, ())
    for text in flags.allow:
        gatherer.add_inline(text)
    gatherer.add_homes(flags)
    if gatherer.problems:
        raise PolicyErrors(gatherer.problems)
    return Gathered(
        tuple(gatherer.documents.values()),
        tuple(gatherer.allow),
        gatherer.homes,
        gatherer.format_homes,
        flags,
        presets,
    )


def needed_managers(gathered: Gathered, *, cases: bool = False) -> frozenset[str]:
    """Words such as ``registry:pip`` that a package manager has to be asked for.

    ``cases``: for running ``expect`` too, whose words nothing else needs.
    """
    entries = list(gathered.allow)
    for document in gathered.documents:
        entries += document.entries
        if cases:
            entries += [entry for case in document.cases for entry in case.entries]
    for placed in gathered.homes.values():
        entries += placed.home.entries
    return managers(entries, gathered.presets)


def found_managers(gathered: Gathered) -> frozenset[str]:
    """The same for the homes of secrets that may be found: nobody wrote those words."""
    entries = [entry for placed in gathered.format_homes.values() for entry in placed.home.entries]
    return managers(entries, gathered.presets)


class _Gatherer:
    """Reads on after an error, so that all of them are shown together."""

    def __init__(self, loader: Loader, presets: Presets) -> None:
        self.documents: dict[str, Document] = {}
        self.allow: list[Entry] = []
        self.homes: dict[str, PlacedHome] = {}
        self.format_homes: dict[str, PlacedHome] = {}
        self.problems: list[Problem] = []
        self._loader = loader
        self._presets = presets
        self._seen: set[str] = set()

    def add(self, given: Given, path: tuple[str, ...]) -> None:
        """Read a file, what it extends first. ``path`` is how it was reached."""
        if given.name in self._seen:
            return
        if len(self._seen) >= FILES:
            raise PolicyError(f"the policy has more than {FILES} files", where=given.name)
        self._seen.add(given.name)
        text = self._load(given.name) if given.text is None else given.text
        try:
            document = read(given.name, text, presets=self._presets.names)
        except PolicyErrors as error:
            self.problems += error.problems
            return
        for extended in document.extends:
            self._extend(document, extended, (*path, given.name))
        self.documents[given.name] = document

    def add_inline(self, given: Given) -> None:
        """Read destinations from an input or flag."""
        with self._noting():
            self.allow += read_inline(given.name, given.text or "", presets=self._presets.names)

    def add_homes(self, flags: Overrides) -> None:
        """Place the secrets: by format, then by the files, then by the input."""
        self._add_given_homes(flags.format_homes, BUILT_IN, "format", self.homes)
        for document in self.documents.values():
            for name, home in document.homes.items():
                self.homes[name] = PlacedHome(home, "policy")
        self._add_given_homes(flags.homes, "input `secrets`", "input", self.homes)
        found = {" ".join(home): home for home in flags.found_homes}
        self._add_given_homes(found, BUILT_IN, "format", self.format_homes)

    def _add_given_homes(
        self,
        homes: Mapping[str, tuple[str, ...]],
        source: str,
        placed_by: str,
        into: dict[str, PlacedHome],
    ) -> None:
        for name, texts in homes.items():
            with self._noting():
                home = read_home(source, name, texts, presets=self._presets.names)
                into[name] = PlacedHome(home, placed_by)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except PolicyErrors as error:
            self.problems += error.problems

    def _extend(self, document: Document, extended: Extended, path: tuple[str, ...]) -> None:
        where = f"{document.name}:{extended.line}:{extended.column}"
        if extended.path in path:
            circle = " → ".join((*path[path.index(extended.path) :], extended.path))
            raise PolicyError(f"a policy extends itself: {circle}", where=where)
        try:
            self.add(Given(extended.path), path)
        except _Unreadable as error:
            raise PolicyError(error.what, fix=error.fix, where=where) from error

    def _load(self, name: str) -> str:
        try:
            return self._loader(name)
        except OSError as error:
            raise _Unreadable(
                f"`{name}` could not be read: {error.strerror or error}", fix="check the path"
            ) from error
        except UnicodeDecodeError as error:
            raise _Unreadable(f"`{name}` is not UTF-8", fix="save it as UTF-8") from error


class _Unreadable(PolicyError):
    """A file that the loader could not give."""


__all__ = [
    "FILES",
    "Gathered",
    "Given",
    "Loader",
    "Overrides",
    "PlacedHome",
    "found_managers",
    "gather",
    "needed_managers",
]
