# SPDX-License-Identifier: MIT
"""The code of RFC 7541: its own examples; tests/property has an independent encoder."""

from __future__ import annotations

import pytest

from leakstop.secrets.huffman import alignments


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),  # C.4.1
        ("no-cache", "a8eb10649cbf"),  # C.4.2
        ("custom-value", "25a849e95bb8e8b4bf"),  # C.4.3
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),  # C.6.1
    ],
)
def test_the_examples_of_the_rfc(text: str, code: str) -> None:
    whole = alignments(text.encode())
    expected = bytes.fromhex(code)
    assert expected.startswith(whole[0]) and len(expected) - len(whole[0]) <= 1
    # What stands behind a first character, at whichever bit that ends.
    for start in range(1, len(text)):
        assert any(inner in expected for inner in alignments(text[start:].encode()))


def test_all_bytes_and_none() -> None:
    assert len(alignments(bytes(range(256)))) == 8
    assert alignments(b"") == [b""] * 8
    assert alignments(b"0") == [b""] * 8  # five bits
