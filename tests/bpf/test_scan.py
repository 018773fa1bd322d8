# SPDX-License-Identifier: MIT
"""The kernel's scan finds what the reference finds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from statistics import fmean

import pytest

from bpf.harness import WINDOW, WINDOW_EDGE, DataPlane, question, wire
from leakstop.bpf import bloom
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.cores import CORE_BYTES
from leakstop.secrets.encodings import HPACK_HUFFMAN, Needle, needles_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import MAX_STRIDE, NeedleTable, build, table_of

pytestmark = pytest.mark.root


def plane(needles: NeedleTable) -> DataPlane:
    policy = Policy()
    return DataPlane(policy, compile_tables(policy), needles)


def token(random: Random, length: int) -> bytes:
    letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP0123456789_-"
    return bytes(random.choice(letters) for _ in range(length))


@pytest.mark.parametrize("shortest", [8, 9, 12, 15, 19, 23, 40, 200])
def test_every_alignment(shortest: int) -> None:
    random = Random(shortest)
    values = [token(random, shortest + extra) for extra in (0, 3, 9)]
    table = build([Needle(value, f"S{number}", "raw") for number, value in enumerate(values)])
    with plane(table) as kernel:
        for number, value in enumerate(values):
            for shift in range(MAX_STRIDE + 1):
                data = token(random, WINDOW_EDGE + shift) + value + token(random, 50)
                assert kernel.scan(data) == {number}
                assert {hit.secret for hit in table.scan(data)} == {f"S{number}"}
        assert kernel.scan(token(random, WINDOW)) == set()


@pytest.mark.parametrize("length", [9, 15, 18, 23, 64])
def test_everywhere_in_a_window(length: int) -> None:
    random = Random(length)
    value, noise = token(random, length), token(random, WINDOW)
    table = build([Needle(value, "S", "raw")])
    with plane(table) as kernel:
        for at in range(WINDOW - CORE_BYTES + 1):
            assert kernel.scan(noise[:at] + value + noise[at + length :]) == {0}, at


def test_alike_but_for_a_byte() -> None:
    random = Random(1)
    value = token(random, 40)
    other = value[:39] + (b"x" if value[39:] != b"x" else b"y")
    table = build([Needle(value, "A", "raw"), Needle(other, "B", "raw")])
    with plane(table) as kernel:
        assert kernel.scan(b"--- " + value) == {0}
        assert kernel.scan(b"--- " + other) == {1}
        assert kernel.scan(b"--- " + value[:39] + b"!") == set()


def test_several_at_once_and_no_more_than_fit() -> None:
    random = Random(2)
    values = [token(random, 20) for _ in range(12)]
    table = build([Needle(value, f"S{number}", "raw") for number, value in enumerate(values)])
    with plane(table) as kernel:
        assert kernel.scan(b" ".join(values[:5])) == {0, 1, 2, 3, 4}
        assert len(kernel.scan(b" ".join(values))) == 8


def test_every_form_of_a_secret_is_found_and_masked() -> None:
    random = Random(4)
    secret = Secret("S", token(random, 12) + b'7 "$&/+?>?>?>' + token(random, 24))
    forms = needles_of(secret)
    assert len({form.encoding for form in forms}) == 11
    masker = Masker([secret])
    # In the kernel's answer a secret is one hit: as an own owner each form shows itself.
    alone = build(replace(form, secret=str(number)) for number, form in enumerate(forms))
    reference = build(forms)
    owners = dict(zip(alone.cores, (owner for owner, _ in alone.owners), strict=True))
    with plane(alone) as kernel:
        for form in forms:
            for shift in range(8):
                data = b"-" * (WINDOW_EDGE + shift) + form.data + b" --next"
                assert owners[form.core] in kernel.scan(data), form.encoding
                assert form.encoding in {hit.encoding for hit in reference.scan(data)}
                assert masker.mask_bytes(data).endswith(b"***S*** --next")
                assert form.core not in masker.mask_bytes(data)


def noise(random: Random, length: int) -> bytes:
    """Nothing of it is ASCII."""
    return bytes(byte | 0x80 for byte in random.randbytes(length))


BEGUN = WINDOW_EDGE + 16 * MAX_STRIDE
"""By what stands there, is decided how the rest is looked at."""


@pytest.mark.parametrize(("count", "shortest"), [(0, 40), (1, 8), (1, 9), (1, 15), (499, 40)])
def test_every_form_but_packed_headers_is_found_where_there_are_none(
    count: int, shortest: int
) -> None:
    random = Random(shortest)
    secret = Secret("S", token(random, 12) + b'7 "$&/+?>?>?>' + token(random, 24))
    others = [Secret(f"S{number}", token(random, shortest)) for number in range(count)]
    packed = 0
    with plane(table_of([secret, *others])) as kernel:
        for form in needles_of(secret):
            for shift in range(MAX_STRIDE):
                before = noise(random, BEGUN + 8 + shift) + form.data
                data = before + noise(random, WINDOW - len(before))
                assert kernel.scan(data) == {0}, form.encoding
                if form.encoding == HPACK_HUFFMAN:
                    packed += len(kernel.scan(data, no_hpack=True))
                else:
                    assert kernel.scan(data, no_hpack=True) == {0}, form.encoding
    assert packed < 8 * MAX_STRIDE, "by chance eight bytes of a code are ASCII"


def test_a_secret_that_is_no_ascii_is_looked_for_everywhere() -> None:
    random = Random(8)
    secret = Secret("S", token(random, 10) + "ü".encode() * 8 + token(random, 10))
    with plane(table_of([secret])) as kernel:
        for shift in range(MAX_STRIDE):
            data = noise(random, BEGUN + 8 + shift) + secret.value + noise(random, 50)
            assert kernel.scan(data, no_hpack=True) == {0}


def passing(words: Iterable[int]) -> float:
    """Of what is in none of a filter's words the part that passes by two bits of one."""
    return fmean((word.bit_count() / 64) ** 2 for word in words)


def test_what_only_the_first_filter_knows_is_not_looked_up() -> None:
    random = Random(6)
    value = token(random, 40)
    table = build([Needle(value, "S", "raw")])
    with plane(table) as kernel:
        assert kernel.scan(b"--- " + value) == {0}
        kernel.empty_second_filter()
        assert kernel.scan(b"--- " + value) == set()


def test_500_secrets_with_all_their_forms() -> None:
    random = Random(5)
    secrets = [Secret(f"S{number}", b"ghp_" + token(random, 36)) for number in range(500)]
    began = time.process_time()
    table = table_of(secrets)
    assert time.process_time() - began < 5  # measured: 0.7 to 1 s beside other work
    filters = bloom.empty(table.stride, table.grams)
    bloom.add(filters, table.grams)
    size = filters.mask // 8 + 1
    assert passing(filters.words[:size]) < 1 / 80
    assert passing(filters.binary) < 1 / 150
    assert passing(filters.second[:size]) < 1 / 50
    with plane(table) as kernel:
        for number in random.sample(range(500), 20):
            assert kernel.scan(b"--- " + secrets[number].value.hex().encode()) == {number}
            huffman = [
                form for form in needles_of(secrets[number]) if form.encoding == HPACK_HUFFMAN
            ]
            assert len(huffman) == 8
            for form in huffman:
                assert kernel.scan(b"--- " + form.data) == {number}
        assert kernel.scan(token(random, WINDOW)) == set()


def test_in_a_name_and_over_labels() -> None:
    random = Random(3)
    value = bytes(random.choice(b"abcdefghijklmnop0123456789") for _ in range(24))
    table = build([Needle(value, "S", "raw")])
    text = value.decode()
    with plane(table) as kernel:
        for name, found in (
            (f"{text}.collector.test", 1),
            (f"{text[:10]}.{text[10:]}.collector.test", 1),
            (f"a.{text[:7]}.{text[7:14]}.{text[14:]}.b.test", 1),
            (f"{text[:-1]}.collector.test", 0),
        ):
            assert kernel.read_name(question(wire(name)), 12).hits == found, name
