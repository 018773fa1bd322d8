# SPDX-License-Identifier: MIT
"""The filters let through what they know, and little else. The kernel's side: tests/bpf."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence

import pytest

from leakstop.bpf import bloom
from leakstop.bpf.values import Bloom
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import MAX_STRIDE, table_of

RANDOM = random.Random(7)
FACTOR = 0x9E3779B97F4A7C15
WORD = 1 << 64


def words(number: int) -> list[int]:
    """Of those that forms of secrets have, a quarter is no ASCII."""
    most = [RANDOM.getrandbits(64) & 0x7F7F7F7F7F7F7F7F for _ in range(number - number // 4)]
    return most + [RANDOM.getrandbits(64) | 0x80 for _ in range(number // 4)]


def passes(filters: Bloom, gram: int) -> tuple[bool, bool]:
    """As ``scan.bpf.h`` asks the first and the second filter."""
    once = gram * FACTOR % WORD
    again = (once + 1) * FACTOR % WORD
    binary = any(byte > 127 for byte in gram.to_bytes(8, "little"))
    return (
        _is_set(
            filters.binary if filters.apart and binary else filters.words,
            once >> 35,
            filters.mask,
        ),
        _is_set(filters.second, again >> 35, filters.mask),
    )


def _is_set(part: Sequence[int], hashed: int, mask: int) -> bool:
    word = part[(hashed >> 9 & mask & (8 * len(part) - 8)) // 8]
    return bool(word >> (hashed & 63) & word >> (hashed >> 6 & 63) & 1)


def test_what_is_known_passes_and_what_is_not_hardly() -> None:
    # What 10 and 500 secrets have.
    for number, most in ((5_700, 1 / 400), (267_000, 1 / 50)):
        grams = words(number)
        filters = bloom.empty(MAX_STRIDE, grams)
        bloom.add(filters, grams)
        assert all(passes(filters, gram) == (True, True) for gram in grams[::50])
        for others in (words(26_000)[:20_000], words(80_000)[-20_000:]):
            passed = [passes(filters, gram) for gram in others]
            assert sum(once for once, _ in passed) < len(others) * most
            assert sum(again for _, again in passed) < len(others) * most
            both = sum(once and again for once, again in passed)
            # The one says nothing about the other. Three may be by chance.
            assert both <= max(3, len(others) * most * most * 4)


@pytest.mark.parametrize(
    ("count", "kib"), [(1, 64), (10, 64), (50, 256), (200, 256), (500, 512), (1_000, 1024)]
)
def test_the_first_filter_is_as_small_as_the_grams_allow(count: int, kib: int) -> None:
    grams = range(535 * count)
    filters = bloom.empty(MAX_STRIDE, grams)
    assert filters.mask == (kib << 10) - 8
    assert bool(filters.apart) == bloom.is_apart(grams) == (count >= 500)


def test_what_is_no_ascii_has_a_part_to_itself_if_there_is_much() -> None:
    for number, apart in ((5_700, False), (267_000, True)):
        filters = bloom.empty(MAX_STRIDE, range(number))
        bloom.add(filters, [0x80])
        assert any(filters.binary) == apart != any(filters.words)
        bloom.add(filters, [0x7F])
        assert any(filters.words)


def test_only_the_codes_of_packed_headers_are_no_ascii() -> None:
    token, umlauts = secrets.token_hex(20).encode(), "ü".encode() * 20
    assert bloom.is_ascii(table_of([Secret("A", token)]))
    assert not bloom.is_ascii(table_of([Secret("A", token), Secret("B", umlauts)]))
    assert bloom.is_ascii(table_of([]))


def test_few_grams_have_a_small_filter_and_more_are_added_to_it() -> None:
    declared, found = words(2_000), words(2_000)
    filters = bloom.empty(MAX_STRIDE, declared)
    assert filters.mask == (64 << 10) - 8
    bloom.add(filters, declared)
    bloom.add(filters, found)
    assert filters.mask == (64 << 10) - 8
    assert all(passes(filters, gram) == (True, True) for gram in declared + found)
    assert not any(filters.words[1 << 13 :]) and not any(filters.second[1 << 13 :])


def test_zeros_that_pass_the_first_filter_do_not_pass_the_second() -> None:
    # Zeros hash to zero, so all that they need is one bit. This gram's hash begins with zeros, too.
    gram = pow(FACTOR, -1, WORD)
    filters = bloom.empty(MAX_STRIDE, [gram])
    bloom.add(filters, [gram])
    assert passes(filters, gram) == (True, True)
    assert passes(filters, 0) == (True, False)
    assert not filters.second[0]
