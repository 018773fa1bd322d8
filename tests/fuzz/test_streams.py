# SPDX-License-Identifier: MIT
"""Mutated streams: the kernel's parsers say what the reference says, and come to an end."""

from __future__ import annotations

from random import Random

import pytest

from bpf.stream_corpus import PIECES, agree
from bpf.streams import Parser
from fuzz.mistakes import mutate
from fuzz.mutate import fuzz

pytestmark = pytest.mark.root

INPUTS = 10_000


def mutated(random: Random) -> bytes:
    """Some pieces of streams one behind the other, one of them with mistakes in it."""
    pieces = random.choices(PIECES, k=random.randrange(1, 4))
    broken = random.randrange(len(pieces))
    pieces[broken] = mutate(random, pieces[broken])
    return b"".join(pieces)


def test_mutated_streams() -> None:
    with Parser() as parser:

        def compare(random: Random) -> None:
            stream = mutated(random)
            if stream:
                agree(parser, stream, [random.randrange(len(stream)) for _ in range(4)])

        fuzz("streams", INPUTS, compare)
