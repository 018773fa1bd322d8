# SPDX-License-Identifier: MIT
"""Take secrets out of text before anybody else sees it.

What ``NeedleTable.scan`` finds is masked here: both look for the same cores. From a core the
mask grows over all that belongs to the secret, so that no part of a value stays behind. More
than the scan does it masks parts of a value, and values of which only some characters are
escaped: a mask too many costs nobody a build.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from leakstop.secrets.encodings import (
    BASE32,
    BASE64,
    BASE64_TWICE,
    BASE64URL,
    HEX,
    PERCENT,
    RAW,
    Needle,
    needles_of,
)
from leakstop.secrets.inventory import MIN_BYTES, Secret

MIN_PARTIAL = 4
"""Shorter beginnings of a value at the end of a cut text are left: they are in every text."""
_MIN_SPREAD = 8
"""The same for encodings that spread 4 bytes over twice as many characters or more."""
_SPREAD = frozenset((HEX, PERCENT, BASE32, BASE64_TWICE))

_BASE64 = frozenset((string.ascii_letters + string.digits + "+/-_").encode())
_BASE32 = frozenset((string.ascii_letters + "234567").encode())
_RUNS = {BASE64: _BASE64, BASE64URL: _BASE64, BASE64_TWICE: _BASE64, BASE32: _BASE32}
"""Encodings of which a character holds bits of two bytes: a find is masked as a whole run."""

_STEP = 4
_PIECE = MIN_BYTES - _STEP + 1
"""So much of a core's last 8 bytes stands at a multiple of ``_STEP``, wherever the core is."""
_ESCAPES = (
    re.compile(rb"\\(?:x|u00)([0-9A-Fa-f]{2})|\\([^xu])"),
    re.compile(rb"%([0-9A-Fa-f]{2})"),
    re.compile(rb"%([0-9A-Fa-f]{2})"),
)
"""Taken off one after the other, since URLs are in JSON and in other URLs."""
_LETTER_OF = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v", strict=True))
_LETTER, _DIGIT = re.compile(rb"[A-Za-z]"), re.compile(rb"[0-9]")
_RANDOM_RUN = re.compile(rb"[\w+/=-]{16,}")
_MOST_ALIKE = 16
"""Places that begin alike: a value that repeats itself is met at another one."""
_OTHER_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Those that do not stand for a byte; ``surrogateescape`` cannot encode them."""


class Masker:
    """Replaces each secret in a text by ``***NAME***``."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._pieces: dict[bytes, list[tuple[_Target, int]]] = {}
        self._parts: dict[bytes, list[tuple[_Target, int]]] = {}
        self._beginnings: dict[bytes, list[_Target]] = {}
        self._longest = 0
        self.learn(secrets)

    def learn(self, secrets: Iterable[Secret]) -> None:
        """Mask ``secrets``, too, from now on."""
        for needle in (needle for secret in secrets for needle in _forms(secret)):
            target = _Target.of(needle)
            tail = len(needle.core) - MIN_BYTES
            for at in range(tail, tail + _STEP):
                self._pieces.setdefault(needle.core[at : at + _PIECE], []).append((target, at))
            for at in _telling(needle) if needle.encoding == RAW else ():
                places = self._parts.setdefault(needle.data[at : at + _PIECE], [])
                if len(places) < _MOST_ALIKE:
                    places.append((target, at))
            self._beginnings.setdefault(needle.data[:MIN_PARTIAL], []).append(target)
            self._longest = max(self._longest, len(needle.data))

    def mask(self, text: str, *, cut: bool = True) -> str:
        """Return ``text`` without secrets, and valid: bytes that are no UTF-8 become U+FFFD.

        ``cut`` says that the text may end in the middle of a secret: then also 4 or more
        bytes at the end that begin a value are masked. Pass ``False`` only for a text that
        is known to be whole.
        """
        data = _OTHER_SURROGATES.sub("\ufffd", text).encode("utf-8", "surrogateescape")
        return self.mask_bytes(data, cut=cut).decode("utf-8", "replace")

    def mask_bytes(self, data: bytes, *, cut: bool = True) -> bytes:
        """Return ``data`` without secrets."""
        spans = sorted(
            replace(span, start=places[span.start], end=places[span.end])
            for plain, places in _views(data)
            for spans in (self._found(plain), self._begun(plain) if cut else ())
            for span in spans
        )
        parts: list[bytes] = []
        end = 0
        for span in _merged(spans):
            parts += [data[end : span.start], f"***{span.name}***".encode()]
            end = span.end
        return b"".join([*parts, data[end:]])

    def _found(self, data: bytes) -> Iterator[_Span]:
        # One look every few bytes, not one search for each of a secret's thirty forms.
        # What was masked is not grown from again: a process that repeats a secret would keep
        # the agent busy.
        masked: dict[_Target, int] = {}
        for offset in range(0, len(data) - _PIECE + 1, _STEP):
            piece = data[offset : offset + _PIECE]
            for target, at in self._pieces.get(piece, ()):
                start, core = offset - at, target.needle.core
                done = start + len(core) <= masked.get(target, 0)
                if start >= 0 and not done and data.startswith(core, start):
                    span = target.span_of_core(data, start)
                    masked[target] = span.end
                    yield span
            for target, at in self._parts.get(piece, ()):
                if offset >= masked.get(target, 0):
                    span = target.grown(data, offset, offset + _PIECE, at)
                    if span.end - span.start >= MIN_BYTES:
                        masked[target] = span.end
                        yield span

    def _begun(self, data: bytes) -> Iterator[_Span]:
        """The longest beginning of each form with which ``data`` ends."""
        seen: set[_Target] = set()
        for start in range(max(0, len(data) - self._longest), len(data) - MIN_PARTIAL + 1):
            for target in self._beginnings.get(data[start : start + MIN_PARTIAL], ()):
                if target not in seen and target.begins_at(data, start):
                    seen.add(target)
                    yield target.grown(data, start, len(data), 0)


@dataclass(frozen=True, slots=True, order=True)
class _Span:
    start: int
    end: int
    name: str
    whole: bool
    """It is all of the form, nothing more and nothing less."""


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """One form of a secret, and where its core is in it."""

    needle: Needle
    offset: int
    run: frozenset[int]
    """The alphabet of an encoding in ``_RUNS``, else empty."""

    @classmethod
    def of(cls, needle: Needle) -> _Target:
        run = _RUNS.get(needle.encoding, frozenset())
        return cls(needle, needle.start, run)

    def span_of_core(self, data: bytes, start: int) -> _Span:
        return self.grown(data, start, start + len(self.needle.core), self.offset)

    def begins_at(self, data: bytes, start: int) -> bool:
        """Whether ``data`` from ``start`` is a beginning of this form, and no chance."""
        least = _MIN_SPREAD if self.needle.encoding in _SPREAD else MIN_PARTIAL
        length = len(data) - start
        return length >= least and self.needle.data.startswith(data[start:])

    def grown(self, data: bytes, start: int, end: int, offset: int) -> _Span:
        """Widen a match of ``needle.data[offset:]`` to all that belongs to the secret."""
        if self.run:
            # The characters at the edges hold bits of the secret and of its neighbours.
            while start and data[start - 1] in self.run:
                start -= 1
            while end < len(data) and data[end] in self.run:
                end += 1
            while data[end : end + 1] == b"=":
                end += 1
        else:
            whole = self.needle.data
            rest = offset + end - start
            while start and offset and data[start - 1] == whole[offset - 1]:
                start, offset = start - 1, offset - 1
            while end < len(data) and rest < len(whole) and data[end] == whole[rest]:
                end, rest = end + 1, rest + 1
        exact = end - start == len(self.needle.data)
        return _Span(start, end, self.needle.secret, exact)


def _telling(needle: Needle) -> Iterator[int]:
    """Where in a value each five bytes are, of eight that tell who it is.

    All of a token; of a URL or a text with spaces only what looks random, since its host and
    its words are in other texts by right.
    """
    data = needle.data
    runs = (
        [(0, len(data))]
        if len(data.split()) == 1 and b"://" not in data
        else [match.span() for match in _RANDOM_RUN.finditer(data) if not data.startswith(b"{")]
    )
    for start, end in runs:
        if _LETTER.search(data, start, end) and _DIGIT.search(data, start, end):
            yield from range(start, end - _PIECE + 1)


def _views(data: bytes) -> Iterator[tuple[bytes, Sequence[int]]]:
    """``data``, and what is left of it without escapes, with the places of its bytes in it."""
    places: Sequence[int] = range(len(data) + 1)
    yield data, places
    for escape in _ESCAPES:
        if escape.search(data):
            data, inner = _unescaped(data, escape)
            places = [places[at] for at in inner]
            yield data, places


def _unescaped(data: bytes, escape: re.Pattern[bytes]) -> tuple[bytes, list[int]]:
    plain = bytearray()
    places: list[int] = []
    at = 0
    for match in escape.finditer(data):
        plain += data[at : match.start()]
        places += range(at, match.start() + 1)
        byte = int(match[1], 16) if match[1] else data[match.end() - 1]
        plain.append(byte if match[1] else _LETTER_OF.get(byte, byte))
        at = match.end()
    return bytes(plain + data[at:]), [*places, *range(at, len(data) + 1)]


def _forms(secret: Secret) -> Iterator[Needle]:
    yield from needles_of(secret)
    # The text may have been decoded by somebody who replaced what was no UTF-8.
    replaced = secret.value.decode("utf-8", "replace").encode()
    if replaced != secret.value:
        yield Needle(replaced, secret.name, RAW)


def _merged(spans: Iterable[_Span]) -> Iterator[_Span]:
    """Join overlapping spans of a sorted sequence; the longest gives its name.

    Of equal ones that of the secret that is no longer: the others only begin with it.
    """
    group: list[_Span] = []
    end = 0
    for span in spans:
        if group and span.start >= end:
            yield _union(group, end)
            group = []
        end = max(end, span.end) if group else span.end
        group.append(span)
    if group:
        yield _union(group, end)


def _union(group: list[_Span], end: int) -> _Span:
    longest = max(group, key=lambda span: (span.end - span.start, span.whole))
    return replace(longest, start=group[0].start, end=end)
