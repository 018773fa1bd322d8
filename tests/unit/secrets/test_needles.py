# SPDX-License-Identifier: MIT
"""The table's shape: what the kernel's arrays rely on."""

from __future__ import annotations

import random
import string

import pytest

from leakstop.errors import UsageError
from leakstop.model.event import SecretHit
from leakstop.secrets.encodings import RAW, Needle
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import MAX_NEEDLES, build, core_of, table_of

RANDOM = random.Random(3)
LETTERS = string.ascii_letters + string.digits


def word(length: int) -> str:
    return "".join(RANDOM.choices(LETTERS, k=length))


def raw(*texts: str) -> list[Needle]:
    return [Needle(text.encode(), f"S{at}", RAW) for at, text in enumerate(texts)]


@pytest.mark.parametrize(("length", "stride"), [(8, 1), (9, 2), (10, 2), (11, 4), (14, 4), (15, 8)])
def test_the_shortest_needle_decides_the_stride(length: int, stride: int) -> None:
    assert build(raw(word(length), word(40))).stride == stride


def test_no_needles() -> None:
    table = build([])
    assert (table.stride, table.cores, table.grams) == (8, (), {})
    assert table.scan(b"anything at all") == ()


def test_each_core_has_one_gram_for_each_offset_of_the_stride() -> None:
    table = table_of([Secret(f"S{at}", word(40).encode()) for at in range(20)])
    places: dict[int, list[int]] = {}
    for gram, candidates in table.grams.items():
        assert 1 <= len(candidates) <= 4
        for needle, position in candidates:
            core = table.cores[needle]
            assert core[position : position + 8] == gram.to_bytes(8, "little")
            places.setdefault(needle, []).append(position)
    assert set(places) == set(range(len(table.cores)))
    for positions in places.values():
        assert sorted(positions) == list(range(min(positions), min(positions) + table.stride))


def test_grams_avoid_what_all_tokens_of_a_kind_share() -> None:
    for prefix in ("ghp_", "npm_", "github_pat_", "pypi-"):
        table = build(raw(prefix + word(36), prefix + word(36)))
        for candidates in table.grams.values():
            assert all(position >= len(prefix) for _, position in candidates)


def test_grams_avoid_bytes_that_are_everywhere() -> None:
    table = build(raw(word(20) + "A" * 8))
    assert b"AAAAAAAA" not in {gram.to_bytes(8, "little") for gram in table.grams}


def test_a_core_is_at_most_64_bytes_and_not_the_boilerplate() -> None:
    header = '{"type": "service_account", "project_id": "some-project", "private_key": "'
    random_part = word(200)
    core = core_of(f'{header}{random_part}", "universe": "aaaaaaaaaaaaaaaaaaaaaaa"}}'.encode())
    assert len(core) == 64
    assert core in random_part.encode()


def test_the_core_of_a_very_long_value_is_found_quickly_and_is_in_it() -> None:
    data = RANDOM.randbytes(48 * 1024)
    assert core_of(data) in data


def test_tokens_that_share_a_header_are_told_apart() -> None:
    header = f"ghs_12345_{word(60)}."
    first, second = (Secret(name, (header + word(300)).encode()) for name in "AB")
    assert table_of([first, second]).scan(second.value) == (SecretHit("B", RAW),)


def test_one_value_under_two_names_belongs_to_the_first() -> None:
    value = word(40).encode()
    table = table_of(
        [Secret("FIRST", value), Secret("SECOND", value), Secret("THIRD", b"12345abc")]
    )
    assert table.names == ("FIRST", "SECOND", "THIRD")
    assert table.scan(value) == (SecretHit("FIRST", RAW),)
    assert {owner for owner, _ in table.owners} == {0, 2}


def test_many_that_end_alike_are_still_told_apart() -> None:
    # Nine URLs that differ in one character: at stride 8 a gram would need nine candidates.
    table = build(raw(*(f"postgres://user:word@db.test/app{at}" for at in range(1, 10))))
    for at in range(1, 10):
        hits = table.scan(f"x postgres://user:word@db.test/app{at}".encode())
        assert hits == (SecretHit(f"S{at - 1}", RAW),)


def test_more_than_four_that_cannot_be_told_apart_are_refused() -> None:
    # 49 cores made of the same eight grams, which have room for four each.
    text = "abcdefgh" * 8
    with pytest.raises(UsageError, match="too much alike"):
        build(raw(*(text[:length] for length in range(16, 65))))


def test_the_limit_is_2000_needles() -> None:
    build(raw(*(word(16) for _ in range(MAX_NEEDLES))))
    with pytest.raises(UsageError, match="2,001 forms; the limit is 2,000"):
        build(raw(*(word(16) for _ in range(MAX_NEEDLES + 1))))


def test_each_hit_once_in_order_of_first_sight() -> None:
    first, second = word(20), word(20)
    data = f"{second} {first} {second}".encode()
    assert build(raw(first, second)).scan(data) == (SecretHit("S1", RAW), SecretHit("S0", RAW))


def test_a_core_that_does_not_fit_the_data_is_no_hit() -> None:
    text = word(40)
    table = build(raw(text))
    for data in (text[1:], text[:-1], text[1:] + text[:1], "x" + text[1:]):
        assert table.scan(data.encode()) == ()


def test_repr_shows_no_bytes() -> None:
    text = word(40)
    assert text[:8] not in repr(build(raw(text)))
