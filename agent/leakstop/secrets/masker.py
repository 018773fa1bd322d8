# SPDX-License-Identifier: MIT
"""Take secrets out of text before anybody else sees it.

What ``NeedleTable.scan`` finds is masked here: both look for the same cores. From a core the
mask grows over all that belongs to the secret, so that no part of a value stays behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from leakstop.secrets.encodings import RAW, Needle, needles_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import CORE_BYTES, core_start

MIN_PARTIAL = 4
"""Shorter beginnings of a value at the end of a cut text are left: they are in every text."""

_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")
_OTHER_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Those that do not stand for a byte; ``surrogateescape`` cannot encode them."""


class Masker:
    """Replaces each secret in a text by ``***NAME***``."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._targets = tuple(_Target.of(needle) for secret in secrets for needle in _forms(secret))

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
        spans = sorted(span for target in self._targets for span in target.spans(data, cut=cut))
        parts: list[bytes] = []
        end = 0
        for span in _merged(spans):
            parts += [data[end : span.start], f"***{span.name}***".encode()]
            end = span.end
        return b"".join([*parts, data[end:]])


@dataclass(frozen=True, slots=True, order=True)
class _Span:
    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class _Target:
    """One form of a secret, and where its core is in it."""

    needle: Needle
    core: bytes
    offset: int

    @classmethod
    def of(cls, needle: Needle) -> _Target:
        offset = core_start(needle.data)
        return cls(needle, needle.data[offset : offset + CORE_BYTES], offset)

    def spans(self, data: bytes, *, cut: bool) -> Iterator[_Span]:
        start = data.find(self.core)
        while start >= 0:
            span = self._grown(data, start, start + len(self.core), self.offset)
            yield span
            # A base64 run was taken whole, nothing can overlap its end; stepping through it
            # would let a process that repeats a secret keep the agent busy.
            start = data.find(self.core, start + 1 if self._is_raw else span.end)
        if cut:
            yield from self._beginning_at_end(data)

    @property
    def _is_raw(self) -> bool:
        return self.needle.encoding == RAW

    def _grown(self, data: bytes, start: int, end: int, offset: int) -> _Span:
        """Widen a match of ``needle.data[offset:]`` to all that belongs to the secret."""
        if self._is_raw:
            whole = self.needle.data
            rest = offset + end - start
            while start and offset and data[start - 1] == whole[offset - 1]:
                start, offset = start - 1, offset - 1
            while end < len(data) and rest < len(whole) and data[end] == whole[rest]:
                end, rest = end + 1, rest + 1
        else:
            # The characters at the edges hold bits of the secret and of its neighbours.
            while start and data[start - 1] in _BASE64:
                start -= 1
            while end < len(data) and data[end] in _BASE64:
                end += 1
            while data[end : end + 1] == b"=":
                end += 1
        return _Span(start, end, self.needle.secret)

    def _beginning_at_end(self, data: bytes) -> Iterator[_Span]:
        whole = self.needle.data
        start = data.find(whole[:MIN_PARTIAL], max(0, len(data) - len(whole)))
        while start >= 0:
            if whole.startswith(data[start:]):
                yield self._grown(data, start, len(data), 0)
                return
            start = data.find(whole[:MIN_PARTIAL], start + 1)


def _forms(secret: Secret) -> Iterator[Needle]:
    yield from needles_of(secret)
    # The text may have been decoded by somebody who replaced what was no UTF-8.
    replaced = secret.value.decode("utf-8", "replace").encode()
    if replaced != secret.value:
        yield Needle(replaced, secret.name, RAW)


def _merged(spans: Iterable[_Span]) -> Iterator[_Span]:
    """Join overlapping spans of a sorted sequence; the longest gives its name."""
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
    longest = max(group, key=lambda span: span.end - span.start)
    return _Span(group[0].start, end, longest.name)
