# SPDX-License-Identifier: MIT
"""The two filters in front of the kernel's table of grams: ``scan.bpf.h`` asks them.

The first is asked about every word that the scan reads, so it is as small as the grams allow.
The second is asked about what passes the first, and saves most looks into the table, which
with some hundred secrets is in no cache of the processor.

With that many, what has a byte that is no ASCII has a part of the first one to itself. One form
in four has such bytes (Huffman codes), so it is small; and most of what is large is such data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from itertools import islice

from leakstop.bpf.values import BINARY_BITS, BLOOM_BITS, SECOND_BITS, Bloom
from leakstop.secrets.encodings import HPACK_HUFFMAN
from leakstop.secrets.needles import GRAM_BYTES, NeedleTable

_LEAST = 1 << 13
"""Words of a filter: 64 KiB, in a processor's own cache and with room for what is found."""
_NEAR = 1 << 15
"""256 KiB, which stay there beside what is scanned."""
_MOST = 1 << BLOOM_BITS - 6
_SPARSE = 1.5
"""Grams a word: of what is none of a table's, one in some hundreds passes then."""
_DENSE = 4.2
"""One in 58. But to fetch words of twice as large a filter from far away costs more."""
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 0xFFFFFFFFFFFFFFFF
_GOLDEN_TWICE = _GOLDEN * _GOLDEN & _WORD
_HASHED = 64 - 6 - BLOOM_BITS
_BINARY = (1 << BINARY_BITS - 6) - 1
_SECOND = (1 << SECOND_BITS - 6) - 1
_NO_ASCII = 0x8080808080808080


def empty(stride: int, grams: Sized) -> Bloom:
    """``struct bloom`` with room for ``grams``."""
    words = _words(grams)
    return Bloom(mask=GRAM_BYTES * (words - 1), stride=stride, apart=words > _NEAR)


def is_ascii(needles: NeedleTable, first: int = 0) -> bool:
    """Whether all needles from ``first`` on are ASCII, but for packed headers of HTTP/2."""
    needed = zip(needles.cores, needles.owners, strict=True)
    return all(
        core.isascii() or encoding == HPACK_HUFFMAN
        for core, (_, encoding) in islice(needed, first, None)
    )


def is_apart(grams: Sized) -> bool:
    """Whether text and other bytes have filters of their own: the programs are told at load."""
    return _words(grams) > _NEAR


def add(bloom: Bloom, grams: Iterable[int]) -> None:
    """Let ``grams`` through, both times."""
    words, binary, second = (
        memoryview(part).cast("B").cast("Q") for part in (bloom.words, bloom.binary, bloom.second)
    )
    mask = bloom.mask // GRAM_BYTES
    other = _NO_ASCII if bloom.apart else 0
    for gram in grams:
        hashed = (gram * _GOLDEN & _WORD) >> _HASHED
        bits = 1 << (hashed & 63) | 1 << (hashed >> 6 & 63)
        if gram & other:
            binary[hashed >> 12 & mask & _BINARY] |= bits
        else:
            words[hashed >> 12 & mask] |= bits
        hashed = (gram * _GOLDEN_TWICE + _GOLDEN & _WORD) >> _HASHED
        second[hashed >> 12 & mask & _SECOND] |= 1 << (hashed & 63) | 1 << (hashed >> 6 & 63)


def _words(grams: Sized) -> int:
    words = _LEAST
    while words < _MOST and len(grams) > words * (_SPARSE if words < _NEAR else _DENSE):
        words *= 2
    return words
