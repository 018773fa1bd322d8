# SPDX-License-Identifier: MIT
"""One policy file, read and checked: text in, what it says out.

Nothing is looked up here: presets and ``registry:`` stay words, ``extends`` stays a list of
paths. ``merge`` puts files together.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy import keys, source
from leakstop.policy.destination import Entry
from leakstop.policy.entries import CaseText, Reader
from leakstop.policy.fields import Fields, check_choice, choice, items, read_fields, scalar
from leakstop.policy.inline import HomeText
from leakstop.policy.problem import Source, raise_all
from leakstop.policy.traps import missing_space

VERSION = "1"


@dataclass(frozen=True, slots=True)
class Extended:
    """A file that another one builds on."""

    path: str
    """Relative to where policies are read from, not to the file that names it."""
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """What one file says."""

    name: str
    lines: tuple[str, ...]
    extends: tuple[Extended, ...]
    entries: tuple[Entry, ...]
    """``allow`` and ``deny``; each knows which."""
    homes: Mapping[str, HomeText]
    choices: Mapping[str, str]
    """Of ``mode leak fail-on on-unsupported`` those that were written."""
    lockdown: frozenset[str]
    """What is taken away from the job."""
    cases: tuple[CaseText, ...]
    steps: tuple[RuleRef, ...]
    """Those that it names, each where it is written."""


def read(
    name: str, text: str, *, presets: Collection[str], allow_as: Action = Action.ALLOW
) -> Document:
    """Read and check one file.

    Args:
        name: what messages call it.
        text: the file.
        presets: names of the presets there are.
        allow_as: what to make of ``allow``; a preset that is denied is read with ``DENY``.

    Raises:
        PolicyErrors: with everything that is wrong.
    """
    root, found = source.compose(name, text)
    if not isinstance(root, source.Mapping):
        _not_a_map(found, root)
        raise_all(found.problems)
        raise AssertionError("unreachable")
    fields = read_fields(found, root, keys.TOP, keys.RESERVED_TOP, "the policy")
    _check_version(found, fields, root)
    reader = Reader(found, presets)
    entries: tuple[Entry, ...] = ()
    for section, action in (("deny", Action.DENY), ("allow", allow_as)):
        if field := fields.get(section):
            entries += reader.rules(field.value, section, action)
    homes, cases = fields.get("secrets"), fields.get("expect")
    document = Document(
        name,
        tuple(found.lines),
        _extends(found, fields),
        entries,
        reader.homes(homes.value) if homes else {},
        _choices(found, fields),
        _lockdown(found, fields),
        reader.cases(cases.value) if cases else (),
        tuple(reader.steps),
    )
    raise_all(found.problems)
    return document


def _not_a_map(found: Source, root: source.Node) -> None:
    if isinstance(root, source.Scalar) and (spaceless := missing_space(root.text.split("\n")[0])):
        found.error(root, *spaceless)
    elif not (isinstance(root, source.Scalar) and root.broken):
        found.error(
            root,
            "a policy is a map of keys",
            "begin with `version: 1`, then `allow:` and the list below it",
        )


def _check_version(found: Source, fields: Fields, root: source.Node) -> None:
    field = fields.get("version")
    if field is None:
        if not any("version" in problem.what for problem in found.problems):
            found.error(root, "`version` is missing", "begin with `version: 1`")
        return
    text = scalar(found, field.value, "version")
    if text is not None and text != VERSION:
        found.error(
            field.value,
            f"`version: {text}` is not known to this release",
            f"write `version: {VERSION}`, or use a newer leakstop",
        )


def _choices(found: Source, fields: Fields) -> Mapping[str, str]:
    written = {}
    for name in ("mode", "leak", "fail-on", "on-unsupported"):
        value = choice(found, fields, name)
        if value is not None:
            written[name] = value
    return written


def _lockdown(found: Source, fields: Fields) -> frozenset[str]:
    field = fields.get("lockdown")
    taken = set()
    for item in items(found, field.value, "lockdown") if field else ():
        text = scalar(found, item, "lockdown")
        problem = check_choice("lockdown", text) if text is not None else None
        if problem is not None:
            found.error(item, *problem)
        elif text is not None:
            taken.add(text)
    return frozenset(taken)


def _extends(found: Source, fields: Fields) -> tuple[Extended, ...]:
    field = fields.get("extends")
    paths = []
    for item in items(found, field.value, "extends", may_be_empty=True) if field else ():
        text = scalar(found, item, "extends")
        if text is None:
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(found.name), text))
        if "://" in text:
            found.error(
                item, "`extends` takes files of this repository, no address", "copy it here"
            )
        elif text.startswith("/") or path.startswith(".."):
            found.error(
                item,
                "`extends` takes files of this repository",
                "write a path beside this file, as in `./base.yml`",
            )
        elif text in ("github", "python", "node", "debian"):
            found.error(item, f"`{text}` is a preset", f"write it under `allow:` as `- {text}`")
        else:
            paths.append(Extended(path, item.line, item.column))
    return tuple(paths)


__all__ = ["VERSION", "Document", "Extended", "read"]
