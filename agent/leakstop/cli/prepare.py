# SPDX-License-Identifier: MIT
"""From files and flags to a complete policy, without root's rights.

Inside Leakstop: ``prepare(wish)``. As the internal command ``leakstop prepare`` it prints
the document that ``leakstop start --prepared -`` takes, secrets included: pipe it, never
store it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakstop.cli import options, registry_tokens
from leakstop.cli.confined import Ask, confined, invoking_user, reader
from leakstop.cli.options import Wish
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.errors import LeakstopError, PolicyError
from leakstop.policy.canonical import to_canonical
from leakstop.secrets import formats

if TYPE_CHECKING:
    # At run time only in the child that is no longer root: this imports a YAML parser.
    from leakstop.policy.gather import Loader
    from leakstop.policy.merge import Built

_CHECKOUT = Path(__file__).resolve().parents[3] / "policies"
_INSTALLED = Path(__file__).resolve().parents[1] / "policies"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy that nothing has to be looked up for any more."""

    policy: bytes
    """Canonical JSON."""
    warnings: tuple[str, ...]
    """For people, each with its cure."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    options.add_policy_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the prepared document."""
    wish = options.wish(args)
    prepared = prepare(wish)
    for warning in prepared.warnings:
        print(warning, file=sys.stderr)
    request = ArmRequest(policy=prepared.policy, secrets=wish.secrets)
    print(json.dumps(request_to_json(request)))
    return 0


def prepare(wish: Wish, *, one_command: bool = False, loader: Loader | None = None) -> Prepared:
    """Compile ``wish`` as an ordinary user; ``loader`` reads policy files elsewhere than ``read``.

    ``one_command``: the guard is for no more, so package managers need not be asked where
    tokens belong that are not here. To a job of many steps one may come later.

    Raises:
        PolicyError: it cannot be read or understood.
    """
    wanted = _as_user(_nothing, _found_homes) if one_command else formats.homes()
    homes = tuple(map(tuple, wanted))  # they may have come as JSON

    def work(ask: Ask) -> dict[str, Any]:
        built = build(wish, ask, found_homes=homes, loader=loader)
        return {"policy": to_canonical(built.policy).decode(), "warnings": built.warnings}

    result = confined(reader(), load_compiler, work, answer)
    return Prepared(result["policy"].encode(), tuple(result["warnings"]))


def load_compiler() -> None:
    """Import and read what ``build`` needs of ours, where only root may be able to read it."""
    # Names in letters of other alphabets are rare, and this is imported when the first is met.
    importlib.import_module("encodings.idna")
    importlib.import_module("encodings.punycode")
    importlib.import_module("leakstop.policy.merge")
    preset_texts()


def build(
    wish: Wish,
    ask: Ask,
    *,
    cases: bool = False,
    found_homes: tuple[tuple[str, ...], ...] = (),
    loader: Loader | None = None,
) -> Built:
    """Compile ``wish`` in this process; ``ask`` leads to one that may ask package managers.

    ``cases``: those of ``expect`` too. ``found_homes``: for a guard, which finds secrets that
    have to have a home.

    Raises:
        PolicyError: it cannot be read or understood.
    """
    from leakstop.policy import merge
    from leakstop.policy.presets import Presets

    overrides = merge.Overrides(
        mode=wish.mode,
        leak=wish.leak,
        fail_on=wish.fail_on,
        on_unsupported=wish.on_unsupported,
        allow=tuple(merge.Given(source.name, source.text) for source in wish.allow),
        homes={secret.name: secret.home for secret in wish.secrets if secret.home},
        format_homes={
            secret.name: home for secret in wish.secrets if (home := formats.home_of(secret))
        },
        found_homes=found_homes,
    )
    gathered = merge.gather(
        [merge.Given(source.name, source.text) for source in wish.policies],
        loader=loader or read,
        presets=Presets(preset_texts()),
        overrides=overrides,
    )
    written = merge.needed_managers(gathered, cases=cases)
    managers = written | merge.found_managers(gathered)
    answered = ask(sorted(managers)) if managers else {"destinations": {}, "notes": []}
    built = merge.build(gathered, _indexes(answered["destinations"]), cases=cases)
    # That a package manager is not here is news only to who wrote its name.
    known, unasked = ({word.partition(":")[2] for word in words} for words in (written, managers))
    notes = tuple(
        f"leakstop: {note}"
        for note in answered["notes"]
        if not (unasked - known).intersection(re.findall(r"\w+", note))
    )
    return replace(built, warnings=(*notes, *built.warnings))


def answer(managers: Any) -> dict[str, Any]:
    """Ask the package managers."""

    def load() -> None:
        importlib.import_module("leakstop.sensor.indexes")

    def resolve(_: Ask) -> dict[str, Any]:
        from leakstop.sensor import indexes

        resolved = indexes.resolve_with_notes(frozenset(managers))
        return {"destinations": dict(resolved.destinations), "notes": list(resolved.notes)}

    return dict(_as_user(load, resolve))


def _as_user(load: Callable[[], None], work: Callable[[Ask], Any]) -> Any:
    """Do ``work`` as the user whose configuration counts: the command's."""
    user = invoking_user()
    if user.uid == os.geteuid():
        return work(_no_questions)
    return confined(user, load, work, _no_questions)


def _found_homes(_: Ask) -> tuple[tuple[str, ...], ...]:
    return formats.homes(registry_tokens.places(os.environ))


def read(name: str) -> str:
    """Read a policy file.

    Raises:
        PolicyError: only root may read it.
        OSError: it cannot be read for another reason.
    """
    try:
        return Path(name).read_text("utf-8")
    except PermissionError as error:
        user = reader()
        raise PolicyError(
            f"`{name}` cannot be read: {error.strerror}",
            why=f"policies are read without root's rights, here as `{user.name or user.uid}`",
            fix="make the file and the directories above it readable for that user",
            where=name,
        ) from error


@cache
def preset_texts() -> Mapping[str, str]:
    """The presets that this release comes with, by name.

    Raises:
        LeakstopError: the installation is not whole.
    """
    folder = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
    texts = {file.stem: file.read_text("utf-8") for file in sorted(folder.glob("*.yml"))}
    if not texts:
        raise LeakstopError(
            "the presets are missing", fix="install leakstop again", where=str(folder)
        )
    return texts


def _indexes(destinations: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {word: tuple(texts) for word, texts in destinations.items()}


def _nothing() -> None:
    """Nothing has to be imported."""


def _no_questions(_: Any) -> None:
    raise LeakstopError("nobody answers questions here")


__all__ = ["Prepared", "answer", "build", "load_compiler", "prepare", "preset_texts", "read"]
