# SPDX-License-Identifier: MIT
"""A secret in any nest of three encodings is found, whatever carries the nest."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of
from leakstop.secrets.unwrap import DEPTH, unwrap
from unit.secrets.wraps import WRAPS, chunked, http2, nested, post

CARRIERS = {
    "nothing": lambda data: data,
    "request": post,
    "chunks": chunked,
    "http/2": lambda data: http2(([], b"before"), ([("x", "y")], data)),
    "noise": lambda data: bytes(range(128, 256)) + b"\n" + data + b"\n" + bytes(range(128)),
}
PACKED = {"gzip", "zlib", "bzip2", "xz", "zip"}


def can_be(words: list[str]) -> bool:
    """JSON holds text."""
    return not any(outer == "json" and inner in PACKED for outer, inner in pairwise(words))


values = st.text(
    "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789_-", min_size=20, max_size=60
)
contexts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    values,
    contexts,
    st.lists(st.sampled_from(sorted(WRAPS)), max_size=DEPTH).filter(can_be),
    st.sampled_from(sorted(CARRIERS)),
)
def test_every_nest(value: str, context: str, words: list[str], carrier: str) -> None:
    table = table_of([Secret("TOKEN", value.encode())])
    inside = f"{context} {value} {context}".encode()
    sent = CARRIERS[carrier](nested(tuple(words), inside))
    hits = [hit for layer in unwrap(sent) for hit in table.scan(layer.data)]
    assert hits, (words, carrier)
