# SPDX-License-Identifier: MIT
"""Encodings that write bytes as text: base64, hexadecimal, percent signs, backslashes."""

from __future__ import annotations

import binascii
import re
import string
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from leakstop.secrets.encodings import BASE64, BASE64URL, HEX, JSON, PERCENT
from leakstop.secrets.unwrap import packed

# A line break as it is, or as JSON or a form writes it.
_BREAK = rb"(?:\r?\n[ \t]*|(?:\\r)?\\n|(?:%0[Dd])?%0[Aa])"
# Shorter is every other word. Nothing stands behind the repetition, so nothing is tried twice.
_BASE64_RUN = re.compile(
    rb"[A-Za-z0-9+/]{16,}={0,2}(?:%s?[A-Za-z0-9+/]{2,}={0,2})*" % _BREAK,
)
_BASE64URL_RUN = re.compile(rb"[A-Za-z0-9_-]{16,}={0,2}(?:%s?[A-Za-z0-9_-]{2,}={0,2})*" % _BREAK)
_BETWEEN = re.compile(rb"=+%s?|%s" % (_BREAK, _BREAK))
_FROM_URL = bytes.maketrans(b"-_", b"+/")
# Also as xxd, od and hexdump write it, and C and Python.
_HEX_RUN = re.compile(rb"(?<![0-9A-Fa-f])(?:(?:\\x|0x)?[0-9A-Fa-f]{2}(?:,? ?\r?\n|, ?|[ :-])?){8,}")
_NOT_HEX = re.compile(rb"\\x|0x|[^0-9A-Fa-f]+")
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}"
    rb"|x[0-9A-Fa-f]{2}|[nrtbf\"'\\/])"
)
_LETTERS = {
    b"\\n": b"\n", b"\\r": b"\r", b"\\t": b"\t", b"\\b": b"\b", b"\\f": b"\f",
    b'\\"': b'"', b"\\'": b"'", b"\\\\": b"\\", b"\\/": b"/",
}  # fmt: skip

_BASE64_LETTERS = string.ascii_letters.encode() + string.digits.encode() + b"+/"
_HOLDS = 32
"""A shorter run holds nothing that is wrapped once more."""
_SAMPLE = 256
"""Characters by which an alignment is chosen: a multiple of 4."""
_PRINTABLE = string.printable.encode()
_MOSTLY = 8
"""A right alignment gives at most one byte in so many that cannot be printed."""
_CONTROLS = bytes({*range(1, 32), 127} - set(b"\t\n\v\f\r\x1b"))
_SELDOM = 20


def is_text(data: bytes) -> bool:
    """Whether text encodings can be in ``data``: hardly any control characters, as no text in any
    language has them; what is encrypted or compressed has every tenth. NUL fills, as in a tar."""
    return len(data) - len(data.translate(None, _CONTROLS)) <= len(data) // _SELDOM


def base64_runs(data: bytes, _most: int) -> Iterator[tuple[str, bytes]]:
    """Runs of base64, broken into lines or not, padded or not."""
    yield from _both(BASE64, map(_from_base64, _BASE64_RUN.findall(data)))
    runs = (run for run in _BASE64URL_RUN.findall(data) if b"-" in run or b"_" in run)
    yield from _both(BASE64URL, (_from_base64(run.translate(_FROM_URL)) for run in runs))


def hex_runs(data: bytes, _most: int) -> Iterator[tuple[str, bytes]]:
    """Runs of hexadecimal digits, with or without something between the bytes."""
    runs = (_NOT_HEX.sub(b"", run) for run in _HEX_RUN.findall(data))
    yield from _both(HEX, map(binascii.unhexlify, runs))


def percent(data: bytes, _most: int) -> Iterator[tuple[str, bytes]]:
    """All of it, with what percent signs stand for."""
    if b"%" in data and _PERCENT.search(data):
        yield PERCENT, unquote_to_bytes(data)


def escapes(data: bytes, _most: int) -> Iterator[tuple[str, bytes]]:
    """All of it, with what the backslashes of JSON and of most languages stand for.

    Wherever they are: where a string begins cannot be told in the middle of a stream.
    """
    if b"\\" in data:
        yield JSON, _ESCAPE.sub(_escaped, data)


def _escaped(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    letter = _LETTERS.get(escape)
    if letter is not None:
        return letter
    if escape[1:2] == b"x":
        return bytes([int(escape[2:], 16)])
    units = [int(unit, 16) for unit in escape.split(b"\\u")[1:]]
    raw = b"".join(unit.to_bytes(2, "big") for unit in units)
    return raw.decode("utf-16-be", "replace").encode()


def _both(word: str, runs: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """The texts among ``runs`` and the rest: an archive's checksums would hide a text."""
    texts: list[bytes] = []
    others: list[bytes] = []
    for run in runs:
        (texts if is_text(run) else others).append(run)
    yield word, b"\n".join(texts)
    yield word, b"\n".join(others)


def _from_base64(run: bytes) -> bytes:
    run = run.rstrip(b"=")
    if not run.translate(None, _BASE64_LETTERS):
        return _decoded(_aligned(run))
    pieces = [piece for piece in _BETWEEN.split(run) if piece]
    # Lines of a length that no encoder leaves are one text; others stand each for themselves.
    if any(len(piece) % 4 for piece in pieces[:-1]) and b"=" not in run:
        pieces = [b"".join(pieces)]
    pieces[0] = _aligned(pieces[0])
    return b"".join(map(_decoded, pieces))


def _aligned(run: bytes) -> bytes:
    """Without what stands before it and happens to be of the same letters."""
    for start in range(4 if len(run) >= _HOLDS else 0):
        sample = _decoded(run[start : start + _SAMPLE])
        strange = len(sample.translate(None, _PRINTABLE))
        if packed.is_packed(sample) or strange * _MOSTLY <= len(sample):
            return run[start:]
    return run


def _decoded(run: bytes) -> bytes:
    whole = len(run) - (len(run) % 4 == 1)
    return binascii.a2b_base64(run[:whole] + b"=" * (-whole % 4))
