# SPDX-License-Identifier: MIT
"""The table finds what a plain search finds, and nothing else; the mask covers all of it."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st

from leakstop.model.event import SecretHit
from leakstop.secrets.encodings import HEX, PERCENT, RAW, Needle, needles_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import MAX_STRIDE, NeedleTable, build, table_of

FEW = settings(max_examples=150, deadline=None, derandomize=True)

cores = st.lists(
    st.one_of(
        st.binary(min_size=8, max_size=80),
        # Few different bytes: grams that repeat inside a core and are shared by several.
        st.text("ab", min_size=8, max_size=80).map(str.encode),
    ),
    min_size=1,
    max_size=4,
)
seeds = st.integers(0, 2**32 - 1)


def naive(table: NeedleTable, data: bytes) -> set[SecretHit]:
    found = [data.find(core) >= 0 for core in table.cores]
    owners = [owner for owner, hit in zip(table.owners, found, strict=True) if hit]
    return {SecretHit(table.names[index], encoding) for index, encoding in owners}


def table_for(values: list[bytes]) -> NeedleTable:
    return build(Needle(value, f"S{at}", RAW) for at, value in enumerate(values))


@FEW
@given(cores, st.data())
def test_every_core_is_found_at_every_alignment(values: list[bytes], data: st.DataObject) -> None:
    assert_found_at_every_alignment(table_for(values), data)


@FEW
@given(
    st.lists(st.integers(23, 80), min_size=1, max_size=4),
    st.lists(st.integers(15, 40), max_size=3),
    seeds,
    st.data(),
)
def test_the_largest_stride_and_what_is_found_later(
    declared: list[int], found: list[int], seed: int, data: st.DataObject
) -> None:
    rng = random.Random(seed)
    table = table_for([rng.randbytes(length) for length in declared])
    assert table.stride == MAX_STRIDE
    assert_found_at_every_alignment(table, data)
    more = [Secret(f"F{at}", rng.randbytes(length)) for at, length in enumerate(found)]
    grown = table.extend(more)
    assert grown.cores[: len(table.cores)] == table.cores
    assert grown.stride <= min([MAX_STRIDE, *(length - 7 for length in found)])
    assert_found_at_every_alignment(grown, data)


def assert_found_at_every_alignment(table: NeedleTable, data: st.DataObject) -> None:
    core = data.draw(st.sampled_from(table.cores))
    around = data.draw(st.binary(max_size=40))
    owner, encoding = table.owners[table.cores.index(core)]
    for alignment in range(MAX_STRIDE):
        text = bytes(alignment) + core + around
        assert set(table.scan(text)) == naive(table, text)
        assert SecretHit(table.names[owner], encoding) in table.scan(text)


@FEW
@given(cores, st.lists(st.one_of(st.integers(0, 3), st.binary(max_size=12)), max_size=8))
def test_nothing_else_is_found(values: list[bytes], parts: list[int | bytes]) -> None:
    table = table_for(values)
    text = b"".join(
        part if isinstance(part, bytes) else table.cores[part % len(table.cores)][part:]
        for part in parts
    )
    assert set(table.scan(text)) == naive(table, text)


def make(seed: int) -> tuple[random.Random, list[Secret]]:
    """Secrets of all kinds, none of which shares eight bytes with another."""
    rng = random.Random(seed)
    values = [
        rng.randbytes(rng.randint(8, 200)),
        base64.b64encode(rng.randbytes(rng.randint(6, 60))),
        b"\n".join(base64.b64encode(rng.randbytes(48)) for _ in range(rng.randint(2, 6))),
        b"\0" + rng.randbytes(20) + b"\n\xff" + rng.randbytes(20),
    ]
    return rng, [Secret(f"S{at}", value.strip()) for at, value in enumerate(values)]


def _percent(text: bytes) -> bytes:
    return "".join(f"%{byte:02x}" for byte in text).encode()


WRITERS: list[Callable[[bytes], bytes]] = [
    bytes,
    base64.b64encode,
    base64.urlsafe_b64encode,
    lambda text: base64.b64encode(base64.b64encode(text)),
    base64.b32encode,
    lambda text: base64.b32encode(text).lower(),
    lambda text: text.hex().encode(),
    lambda text: text.hex().upper().encode(),
    lambda text: quote(text, safe="").encode(),
    lambda text: quote_plus(text).encode(),
    _percent,
]
WIDTHS = {HEX: 16, PERCENT: 24}
"""Of encodings of which eight characters are no eight bytes, and occur by chance."""


def written(rng: random.Random, value: bytes) -> bytes:
    """``value`` somewhere in other bytes, in one of the ways that are looked for."""
    around = rng.randbytes(rng.randint(0, 20)), rng.randbytes(rng.randint(0, 20))
    text = around[0] + value + around[1]
    return b"--data=" + rng.choice(WRITERS)(text) + b" --next"


@lru_cache
def windows(secret: Secret) -> set[bytes]:
    return {
        needle.data[at : at + width]
        for needle in needles_of(secret)
        for width in [WIDTHS.get(needle.encoding, 8)]
        for at in range(len(needle.data) - width + 1)
    }


def left(masked: bytes, secret: Secret) -> set[bytes]:
    return windows(secret).intersection(
        masked[at : at + width]
        for width in {8, *WIDTHS.values()}
        for at in range(len(masked) - width + 1)
    )


@FEW
@given(seeds)
def test_real_secrets_are_found_in_all_encodings_and_masked(seed: int) -> None:
    rng, secrets = make(seed)
    table, masker = table_of(secrets), Masker(secrets)
    for secret in secrets:
        text = written(rng, secret.value)
        assert secret.name in {hit.secret for hit in table.scan(text)}
        masked = masker.mask_bytes(text)
        assert f"***{secret.name}***".encode() in masked
        assert masked.startswith(b"--data=") and masked.endswith(b" --next")
        assert not left(masked, secret)
        assert table.scan(masked) == ()


@FEW
@given(seeds)
def test_a_cut_text_keeps_no_part_of_a_secret(seed: int) -> None:
    rng, secrets = make(seed)
    masker = Masker(secrets)
    for secret in secrets:
        text = written(rng, secret.value)
        for end in rng.sample(range(len(text)), 8):
            assert not left(masker.mask_bytes(text[:end]), secret)


@FEW
@given(seeds, st.text(max_size=40))
def test_text_that_was_decoded_is_masked_and_valid(seed: int, around: str) -> None:
    rng, secrets = make(seed)
    for errors in ("surrogateescape", "replace"):
        secret = rng.choice(secrets)
        text = f"{around} {secret.value.decode('utf-8', errors)} {around}"
        masked = Masker(secrets).mask(text)
        assert f"***{secret.name}***" in masked
        masked.encode()  # no surrogates are left
        assert not left(masked.encode(), secret)
