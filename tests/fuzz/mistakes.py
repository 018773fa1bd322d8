# SPDX-License-Identifier: MIT
"""Mistakes that parsers of packets meet: lengths that lie, bytes that mean something to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

_ODD = b"\0\t\n\r ,.:;/@[]\x16\x17\x7f\x80\xff0aZ"
"""Bytes that mean something to one parser or another."""

_SIZES = (0, 1, 2, 4, 5, 0x7F, 0x80, 0xFF, 0x100, 0x4000, 0x4001, 0x7FFF, 0x8000, 0xFFFF)


def _flip(random: Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << random.randrange(8)


def _replace(random: Random, data: bytearray, at: int) -> None:
    data[at] = random.choice(_ODD)


def _insert(random: Random, data: bytearray, at: int) -> None:
    data[at:at] = bytes(random.choices(_ODD, k=random.randrange(1, 4)))


def _delete(random: Random, data: bytearray, at: int) -> None:
    del data[at : at + random.choice((1, 1, 2, 3, 10))]


def _repeat(random: Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + random.randrange(1, 60)]


def _lie(random: Random, data: bytearray, at: int) -> None:
    """A length that is not the one of what follows."""
    near = int.from_bytes(data[at : at + 2], "big") + random.choice((-2, -1, 1, 2))
    size = random.choice((near & 0xFFFF, *_SIZES))
    data[at : at + 2] = size.to_bytes(2, "big")


def _truncate(_: Random, data: bytearray, at: int) -> None:
    del data[at:]


_MUTATIONS: Sequence[Callable[[Random, bytearray, int], None]] = (
    *(_flip, _replace, _insert, _delete, _repeat, _lie, _truncate),
)


def mutate(random: Random, data: bytes) -> bytes:
    """``data`` with one to three mistakes in it."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if found:
            random.choice(_MUTATIONS)(random, found, random.randrange(len(found)))
    return bytes(found)
