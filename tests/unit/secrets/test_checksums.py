# SPDX-License-Identifier: MIT
"""Checksums in tokens. Valid ones are made when the tests run, never written down."""

from __future__ import annotations

import random
import string
import zlib

import pytest

from leakstop.secrets.checksums import bech32, crc32_base62
from leakstop.secrets.shapes import find_shapes

RANDOM = random.Random(7)
ALNUM = string.digits + string.ascii_uppercase + string.ascii_lowercase
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def with_crc(prefix: str, body: str) -> str:
    number = zlib.crc32(body.encode())
    return prefix + body + "".join(ALNUM[number // 62**power % 62] for power in range(5, -1, -1))


def is_certain(token: str) -> bool:
    return any(shape.certain for shape in find_shapes(token.encode()))


def body() -> str:
    return "".join(RANDOM.choices(ALNUM, k=30))


def other(char: str, alphabet: str) -> str:
    return RANDOM.choice(alphabet.replace(char, ""))


def test_the_published_example() -> None:
    assert with_crc("", "A" * 30)[30:] == "0uCPlr"


@pytest.mark.parametrize("prefix", ["ghp_", "gho_", "ghu_", "ghr_", "ghs_", "npm_"])
def test_one_changed_character_is_noticed(prefix: str) -> None:
    for _ in range(50):
        token = with_crc(prefix, body())
        assert crc32_base62(token) and is_certain(token)
        at = RANDOM.randrange(4, 40)
        wrong = token[:at] + other(token[at], ALNUM) + token[at + 1 :]
        assert not crc32_base62(wrong) and not is_certain(wrong)


@pytest.mark.parametrize(
    "text", ["", "ghp_", "ghp_" + "A" * 35, "A" * 36, "github_pat_" + "A" * 82]
)
def test_other_forms_are_never_certain(text: str) -> None:
    assert not crc32_base62(text)


def test_a_format_without_checksum_is_never_certain() -> None:
    assert not is_certain("dckr_pat_" + body())
    assert not is_certain("home-made-value")


# The valid strings of BIP 173 that hold no address.
@pytest.mark.parametrize(
    "text",
    [
        "A12UEL5L",
        "a12uel5l",
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    ],
)
def test_bech32_vectors(text: str) -> None:
    assert bech32(text)
    at = RANDOM.randrange(text.rindex("1") + 1, len(text))
    assert not bech32(text[:at] + other(text[at].lower(), BECH32) + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "1", "A12uEL5L", "x1b4n0q5v", "li1dgmt3", "12UEL5L", "nosep"])
def test_no_bech32(text: str) -> None:
    assert not bech32(text)


def with_bech32(prefix: str, data: str) -> str:
    """``data`` and its checksum, by division of polynomials over GF(32)."""
    values = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    remainder = 1
    for value in [*values, *map(BECH32.index, data), 0, 0, 0, 0, 0, 0]:
        shifted = (remainder << 5) ^ value
        for bit in range(5):
            shifted ^= GENERATOR[bit] * (remainder >> (25 + bit) & 1)
        remainder = shifted & (2**30 - 1)
    closing = remainder ^ 1
    return f"{prefix}1{data}" + "".join(BECH32[closing >> 5 * at & 31] for at in range(5, -1, -1))


def test_an_age_key_is_certain() -> None:
    key = with_bech32("age-secret-key-", "".join(RANDOM.choices(BECH32, k=52)))
    assert is_certain(key.upper())
    wrong = key[:-1] + other(key[-1], BECH32)
    assert not is_certain(wrong.upper())
