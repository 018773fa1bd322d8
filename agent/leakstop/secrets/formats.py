# SPDX-License-Identifier: MIT
"""What a secret is, by its shape or its name; where such a secret belongs; how to revoke it.

The formats themselves are in ``catalogue``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from leakstop.model.report import SecretView
from leakstop.secrets.catalogue import FORMATS
from leakstop.secrets.inventory import Secret
from leakstop.secrets.rotation import aftermath
from leakstop.secrets.shape import Format
from leakstop.secrets.urls import places_of

_ASKED = ("registry:", "publish:")
"""Begin policy words that a package manager is asked about."""


def recognise(secret: Secret) -> Format | None:
    """Return the first format that fits, if any does."""
    return next((form for form in FORMATS if form.matches(secret)), None)


def home_of(secret: Secret) -> tuple[str, ...]:
    """Return the home that the format gives, as policy words; empty if it gives none."""
    form = recognise(secret)
    if form is None:
        return ()
    return places_of(secret.value.decode("utf-8", "replace")) if form.own_home else form.home


def homes(around: bytes | None = None) -> tuple[tuple[str, ...], ...]:
    """The homes that formats give to secrets that are found, each once.

    Given what is ``around``, of the homes that only a package manager knows just those of which
    a token is in it.
    """
    found = (form for form in FORMATS if form.home and form.found)
    return tuple(dict.fromkeys(form.home for form in found if _is_wanted(form, around)))


def _is_wanted(form: Format, around: bytes | None) -> bool:
    if around is None or not any(word.startswith(_ASKED) for word in form.home):
        return True
    return re.search(form.pattern.encode(), around, re.ASCII) is not None


def view(secret: Secret, home_text: Sequence[str], placed_by: str) -> SecretView:
    """Describe ``secret`` for reports, without its value."""
    form = recognise(secret)
    plain = SecretView(
        secret.name,
        tuple(home_text),
        kind="",
        revoke="",
        placed_by=placed_by,
        size=len(secret.value),
        source=secret.source,
    )
    return described(plain, form)


def of_kind(kind: str) -> Format | None:
    """Return the first format of this kind."""
    return next((form for form in FORMATS if form.kind == kind), None)


def described(view: SecretView, form: Format | None) -> SecretView:
    """Add to ``view`` what is known of its format."""
    after = aftermath(form)
    if form is None:
        return replace(view, check=after.check)
    return replace(
        view,
        kind=form.kind,
        revoke=form.revoke,
        short_lived=form.short_lived,
        check=after.check,
        instead=after.instead,
    )
