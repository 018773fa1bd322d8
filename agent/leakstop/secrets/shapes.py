# SPDX-License-Identifier: MIT
"""Find tokens of the known formats in any bytes, whoever they belong to.

Most data holds none, and that is found out quickly: every format has an *anchor*, a few bytes
that each of its tokens contains. Only where one stands are the formats' patterns tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby, islice

from leakstop.secrets.catalogue import FORMATS
from leakstop.secrets.shape import Format, is_placeholder

_PREFIXES = (
    b"ghs_ ghp_ gho_ ghu_ ghr_ github_pat_ npm_ dckr_pat_ dckr_oat_ rubygems_ hf_ api_org_ "
    b"sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ rk_prod_ whsec_ cfk_ cfut_ cfat_ sntryu_ "
    b"sntrys_ CCIPAT_ CCIPRJ_ ops_ hvs. hvb. hvr. SG. ya29. glpat- glrt- glcbt- glptt- gldt- "
    b"gloas- glft- glsoat- glimt- glagent- glffct- xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- xapp- "
    b"sk-ant- sk-proj- sk-svcacct- sk-admin- pypi- pul- v1.0- AGE-SECRET-KEY- AccountKey= Q~"
)
"""How tokens begin (Azure's client secrets three characters later), up to one that is rare."""
_AHEAD = {
    b"-": rb"(?=BEGIN [A-Z0-9 ]*PRIVATE KEY)",
    b".": rb"(?=atlasv1\.)|(?=[\w-]{6}\.[\w-]{27})",  # Terraform; Discord's bots
    b":": rb"(?=AA[\w-]{33})|(?=//(?:hooks\.slack|(?:\w+\.)?discord))",  # Telegram's bots
}
"""What stands behind a rare character that is not the end of a prefix."""
_REST = rb"[\w.~+/-]{10}"
"""Every token goes on like this behind its prefix."""
_RARE_AT = 28
"""So far in a token the rare character is at most."""
_LITERALS = {
    b"oy2": 0,
    b"cio": 0,
    b"ABSK": 0,
    b"AIza": 0,
    b"T3BlbkFJ": 23,
    b"JQQJ99": 52,
    b"+ASt": 76,
}
"""Anchors without a rare character, and how far behind the token's beginning they are."""

_NAMES = {
    "AWS secret access key": rb"secret_?access_?key",
    "Cloudflare API token": rb"(?:cloudflare|cf)_[\w-]{0,16}(?:key|token)",
    "Datadog key": rb"(?:datadog|dd)[_-](?:api|app|application)[_-]key",
}
"""Formats that are any random text without a name before it."""
_AWS_SECRET = rb"[A-Za-z0-9+/]{40}"
_LEFT_OUT = frozenset(("JSON Web Token", "Google Cloud service account key"))
"""Registries give the first to everybody for minutes; the second is known by its private key."""
_NAMED = tuple(re.compile(sign + rb"(?=[\"' ]{0,3}[\w+/-]{32})") for sign in (b":", b"="))
"""Between a name and a value that is long enough."""
_NAME_ROOM, _VALUE_ROOM = 48, 64

_BEGINNING = re.compile(rb"(?<![A-Za-z0-9])|(?<=/bot)")
"""Telegram's bot tokens stand behind ``/bot`` in a URL's path."""
_LONGEST = 16 * 1024
_MOST_TRIES = 4096
"""Data that is made of anchors must not keep the agent busy: a shape only warns."""
_MIN_VARIETY = 10
"""Of random characters as long as tokens are, some are different (``ghp_000000``)."""
_DIGIT, _LOWER, _UPPER = (re.compile(chars) for chars in (rb"[0-9]", rb"[a-z]", rb"[A-Z]"))


@dataclass(frozen=True, slots=True)
class Shape:
    """Something that looks like a token. ``repr`` does not show it."""

    form: Format
    value: bytes = field(repr=False)

    @property
    def certain(self) -> bool:
        """Whether its checksum holds. ``False`` proves nothing: most formats have none."""
        return self.form.checksum is not None and self.form.checksum(self.value.decode("latin-1"))


def find_shapes(data: bytes) -> tuple[Shape, ...]:
    """Return the tokens in ``data``, each value once."""
    found: dict[bytes, Shape] = {}
    end = 0
    for start in sorted(set(islice(_starts(data), _MOST_TRIES))):
        if start >= end and (shape := _shape_at(data, start)):
            end = start + len(shape.value)
            found.setdefault(shape.value, shape)
    for shape in _named(data):
        found.setdefault(shape.value, shape)
    return tuple(found.values())


def _starts(data: bytes) -> Iterator[int]:
    """Where a token may begin."""
    for finder in _finders():
        for match in finder.finditer(data):
            yield from _beginnings(data, match.start(), _RARE_AT)
    for literal, before in _LITERALS.items():
        at = data.find(literal)
        while at >= 0:
            yield from _beginnings(data, at, before)
            at = data.find(literal, at + 1)


def _beginnings(data: bytes, at: int, before: int) -> Iterator[int]:
    """Where a word begins, up to so many bytes ``before`` ``at``."""
    for match in _BEGINNING.finditer(data, max(0, at - before), at + 1):
        if match.start() <= at:
            yield match.start()


def _shape_at(data: bytes, start: int) -> Shape | None:
    for form, pattern in _patterns():
        match = pattern.match(data, start, start + _LONGEST)
        if match and _is_random(match[0]):
            return Shape(form, match[0])
    return None


def _named(data: bytes) -> Iterator[Shape]:
    """Values behind the name that alone says what they are, as in a file or a header."""
    signs = chain.from_iterable(finder.finditer(data) for finder in _NAMED)
    for sign in islice(signs, _MOST_TRIES):
        for form, pattern in _named_patterns():
            start, end = max(0, sign.start() - _NAME_ROOM), sign.end() + _VALUE_ROOM
            match = pattern.search(data, start, end)
            if match and _is_random(match[1]):
                yield Shape(form, match[1])


@cache
def _finders() -> tuple[re.Pattern[bytes], ...]:
    """For each rare character a pattern that begins with it: those are looked for quickly."""

    def order(prefix: bytes) -> tuple[bytes, int]:
        return prefix[-1:], len(prefix)

    behind: dict[bytes, list[bytes]] = {}
    # All that is looked back at in one alternative has one length.
    for (rare, _), prefixes in groupby(sorted(_PREFIXES.split(), key=order), key=order):
        behind.setdefault(rare, []).append(b"(?<=%s)" % b"|".join(map(re.escape, prefixes)))
    finders = []
    for rare in {**behind, **_AHEAD}:
        ways = [_AHEAD[rare]] if rare in _AHEAD else []
        if rare in behind:
            # What follows is looked at first: seldom is it so long, and it is one look.
            ways.append(b"(?=%s)(?:%s)" % (_REST, b"|".join(behind[rare])))
        finders.append(re.compile(b"%s(?:%s)" % (re.escape(rare), b"|".join(ways))))
    return tuple(finders)


@cache
def _patterns() -> tuple[tuple[Format, re.Pattern[bytes]], ...]:
    """Of the formats that a name is not needed for; nothing that continues a word is one."""
    return tuple(
        (form, re.compile(b"(?:%s)(?![A-Za-z0-9])" % form.pattern.encode(), re.DOTALL))
        for form in FORMATS
        if form.found and form.pattern and not form.name and form.kind not in _LEFT_OUT
    )


@cache
def _named_patterns() -> tuple[tuple[Format, re.Pattern[bytes]], ...]:
    return tuple(
        (
            form,
            re.compile(
                rb"(?i:%s)[\"']?\s{0,2}[:=]\s{0,2}[\"']?(%s)(?![\w+/=-])"
                % (_NAMES[form.kind], form.pattern.encode() or _AWS_SECRET)
            ),
        )
        for form in FORMATS
        if form.name and form.kind in _NAMES
    )


def _is_random(value: bytes) -> bool:
    """Whether it is no text that a person wrote: ``xoxb-your-token``, ``ghp_xxxxxxxx``."""
    mixed = _LOWER.search(value) and _UPPER.search(value)
    return bool(
        len(set(value)) >= _MIN_VARIETY
        and (mixed or _DIGIT.search(value))
        and not is_placeholder(value.decode("latin-1"))
    )
