# SPDX-License-Identifier: MIT
"""The table's shape: what the kernel's arrays rely on."""

from __future__ import annotations

import base64
import random
import string

import pytest

from leakstop.errors import UsageError
from leakstop.model.event import SecretHit
from leakstop.secrets.cores import core_of
from leakstop.secrets.encodings import HPACK_HUFFMAN, RAW, Needle, needles_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import MAX_NEEDLES, MAX_STRIDE, build, table_of

RANDOM = random.Random(3)
LETTERS = string.ascii_letters + string.digits


def word(length: int) -> str:
    return "".join(RANDOM.choices(LETTERS, k=length))


def raw(*texts: str) -> list[Needle]:
    return [Needle(text.encode(), f"S{at}", RAW) for at, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("length", "stride"), [(8, 1), (9, 2), (15, 8), (22, 15), (23, 16), (39, 16)]
)
def test_the_shortest_needle_decides_the_stride(length: int, stride: int) -> None:
    assert build(raw(word(length), word(40))).stride == stride


@pytest.mark.parametrize(("length", "least"), [(12, 12), (16, 15), (20, 15)])
def test_no_form_shorter_than_the_value_decides_the_stride(length: int, least: int) -> None:
    lines = "\n".join([word(30), word(7) + "1", word(30)])
    secrets = [Secret("VALUE", word(length).encode()), Secret("LINES", lines.encode())]
    table = table_of(secrets)
    shortest = min(map(len, table.cores))
    assert shortest >= least
    assert table.stride == min(MAX_STRIDE, shortest - 7)
    left_out = {
        (needle.secret, needle.encoding)
        for secret in secrets
        for needle in needles_of(secret)
        if needle.core not in table.cores
    }
    assert left_out <= {("VALUE", HPACK_HUFFMAN), ("LINES", RAW)}
    assert ("LINES", RAW) in left_out
    value = secrets[0].value
    for text in (value, value[::-1], value.hex().encode(), base64.b64encode(b"-" + value)):
        assert table.scan(b"data " + text + b" data")


def test_no_needles() -> None:
    table = build([])
    assert (table.stride, table.cores, table.grams) == (MAX_STRIDE, (), {})
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
    header = f"ghs_12345_{'eyJhbGciOi' * 6}."
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
    # Nine URLs that differ in one character: at stride 16 a gram would need nine candidates.
    table = build(raw(*(f"postgres://user:word@db.test/app{at}" for at in range(1, 10))))
    for at in range(1, 10):
        hits = table.scan(f"x postgres://user:word@db.test/app{at}".encode())
        assert hits == (SecretHit(f"S{at - 1}", RAW),)


def test_more_than_four_that_cannot_be_told_apart_are_refused() -> None:
    # 49 cores made of the same eight grams, which have room for four each.
    text = "abcdefgh" * 8
    with pytest.raises(UsageError, match="too much alike"):
        build(raw(*(text[:length] for length in range(16, 65))))


def test_the_limit_is_60000_needles() -> None:
    table = build(raw(*(word(16) for _ in range(MAX_NEEDLES))))
    with pytest.raises(UsageError, match="60,001 forms; the limit is 60,000"):
        build(raw(*(word(16) for _ in range(MAX_NEEDLES + 1))))
    with pytest.raises(UsageError, match="the limit is 60,000"):
        table.extend([Secret("MORE", word(20).encode())])


def test_a_table_that_grows_keeps_its_indexes() -> None:
    table = table_of([Secret(f"S{at}", f"key_{word(36)}".encode()) for at in range(5)])
    for at in range(5, 9):
        # The same end as one that is known: its grams are shared.
        value = word(20).encode() + table.cores[0][-20:]
        grown = table.extend([Secret(f"S{at}", value), Secret("S0", word(30).encode())])
        assert 8 <= grown.stride <= table.stride
        for old, new in (
            (table.cores, grown.cores),
            (table.owners, grown.owners),
            (table.names, grown.names),
        ):
            assert new[: len(old)] == old
        for gram, candidates in table.grams.items():
            assert grown.grams[gram][: len(candidates)] == candidates
        for core, (owner, encoding) in zip(grown.cores, grown.owners, strict=True):
            for shift in range(MAX_STRIDE):
                hits = grown.scan(bytes(shift) + core + b"--")
                assert SecretHit(grown.names[owner], encoding) in hits
        table = grown
    assert table.names == tuple(f"S{at}" for at in range(9))


def test_a_table_that_grew_from_nothing() -> None:
    value = word(20).encode()
    table = build([]).extend([Secret("FOUND", value)])
    assert table.scan(b"x" + value) == (SecretHit("FOUND", RAW),)
    assert table.extend([Secret("AGAIN", value)]).scan(value) == (SecretHit("FOUND", RAW),)


def test_a_value_that_is_found_lowers_the_stride_and_all_others_are_still_seen() -> None:
    declared = [Secret(f"S{at}", word(40).encode()) for at in range(3)]
    table = table_of(declared)
    assert table.stride == MAX_STRIDE
    found = Secret("FOUND", word(15).encode())
    grown = table.extend([found])
    assert grown.stride == 8
    assert {gram: grown.grams[gram] for gram in table.grams} == table.grams
    for secret in (*declared, found):
        for shift in range(2 * MAX_STRIDE):
            assert grown.scan(bytes(shift) + secret.value) == (SecretHit(secret.name, RAW),)


def test_a_value_that_is_too_short_to_be_found_is_refused() -> None:
    table = table_of([Secret("LONG", word(30).encode())])
    with pytest.raises(UsageError, match="SHORT is too short to be watched from now on"):
        table.extend([Secret("SHORT", word(14).encode())])
    lines = [word(30), word(9), word(30)]  # a line of nine bytes is left out
    grown = table.extend([Secret("LINES", "\n".join(lines).encode())])
    assert lines[1].encode() not in grown.cores
    assert {lines[0].encode(), lines[2].encode()} <= set(grown.cores)


@pytest.mark.parametrize("length", [12, 18, 30])  # strides of 5, 11 and 16; sieved at 4, 8 and 16
def test_a_core_is_found_wherever_a_long_text_is_cut_for_the_scan(length: int) -> None:
    text = word(length).encode()
    table = build([Needle(text, "S", RAW)])
    noise = RANDOM.randbytes(3 * 32 * 1024)
    assert not table.scan(noise)
    for edge in (0, 32 * 1024, 64 * 1024, len(noise)):
        for at in range(edge - length - 1, edge + 2):
            if 0 <= at <= len(noise) - length:
                data = noise[:at] + text + noise[at + length :]
                assert table.scan(data) == (SecretHit("S", RAW),), at
    assert table.longest == length


def test_each_hit_once_in_order_of_first_sight() -> None:
    first, second = word(20), word(20)
    data = f"{second} {first} {second}".encode()
    assert build(raw(first, second)).scan(data) == (SecretHit("S1", RAW), SecretHit("S0", RAW))


def test_a_core_that_does_not_fit_the_data_is_no_hit() -> None:
    text = word(40)
    table = build(raw(text))
    for data in (text[1:], text[:-1], text[1:] + text[:1], "-" + text[1:]):
        assert table.scan(data.encode()) == ()


def test_repr_shows_no_bytes() -> None:
    text = word(40)
    assert text[:8] not in repr(build(raw(text)))
