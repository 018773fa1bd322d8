# SPDX-License-Identifier: MIT
"""What detectors are given to remember with."""

from __future__ import annotations

from leakstop.detect.detector import Once


def test_once_is_once() -> None:
    once = Once()
    assert [once.first(key) for key in ("a", "b", "a")] == [True, True, False]


def test_the_oldest_is_forgotten_first() -> None:
    once = Once(limit=2)
    for key in ("a", "b", "c"):
        assert once.first(key)
    assert not once.first("b")
    assert once.first("a")
