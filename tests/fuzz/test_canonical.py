# SPDX-License-Identifier: MIT
"""The compiled policy, read by root: nothing is accepted that would not have been written."""

from __future__ import annotations

import contextlib
import json
from random import Random
from typing import Any

from fuzz.mutate import bend, bend_json, fuzz
from leakstop.errors import PolicyError
from leakstop.policy.canonical import from_canonical, to_canonical, to_document
from leakstop.policy.tables import compile_tables
from unit.policy.test_canonical import FULL, signed

WRITTEN = to_canonical(FULL)
WORDS = [*(bytes((byte,)) for byte in b'"{}[],:\\0\xff'), b"\\u0000", b"1e999", b"NaN"]


def take(data: bytes) -> None:
    """Read ``data``; what is accepted compiles, and is written as it was read."""
    with contextlib.suppress(PolicyError):
        policy = from_canonical(data)
        assert to_canonical(policy) == data
        compile_tables(policy)


def test_text_of_anything() -> None:
    fuzz("canonical text", 1_000, lambda random: take(bend(random, [WRITTEN], WORDS)))


def test_documents_with_a_fitting_digest() -> None:
    document = to_document(FULL)

    def forge(random: Random) -> None:
        forged: Any = bend_json(random, document)
        if isinstance(forged, dict):
            with contextlib.suppress(ValueError):  # lone surrogates have no UTF-8
                take(signed(forged))

    fuzz("canonical documents", 1_000, forge)


def test_a_document_that_says_the_same_in_another_way_is_refused() -> None:
    def respell(random: Random) -> None:
        groups = json.loads(WRITTEN)["rules"]
        changed = bend_json(random, groups)
        document = {**to_document(FULL), "rules": changed}
        with contextlib.suppress(PolicyError, ValueError):
            assert from_canonical(signed(document)).rules != FULL.rules or changed == groups

    fuzz("canonical rules", 800, respell)
