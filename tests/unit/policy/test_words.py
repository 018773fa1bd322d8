# SPDX-License-Identifier: MIT
"""Did you mean."""

from __future__ import annotations

import pytest

from leakstop.policy import keys
from leakstop.policy.words import SYNONYMS, VALUE_SYNONYMS, did_you_mean


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("alow", "allow"),
        ("ALLOW", "allow"),
        ("fail_on", "fail-on"),
        ("allowed-endpoints", "allow"),
        ("egress-policy", "mode"),
        ("xyzzy", ""),
    ],
)
def test_a_key_is_guessed(typed: str, meant: str) -> None:
    assert did_you_mean(typed, keys.TOP) == meant


def test_every_synonym_leads_to_a_word_of_the_language() -> None:
    assert set(SYNONYMS.values()) <= keys.ALL_KEYS
    assert not set(SYNONYMS) & keys.ALL_KEYS
    for key, synonyms in VALUE_SYNONYMS.items():
        assert set(synonyms.values()) <= set(keys.CHOICES[key])
        assert not set(synonyms) & set(keys.CHOICES[key])
