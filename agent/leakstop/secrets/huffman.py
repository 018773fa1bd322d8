# SPDX-License-Identifier: MIT
"""The Huffman code of HTTP/2 and HTTP/3 headers (RFC 7541, appendix B).

HPACK and QPACK write a header's text with it. The code is canonical: the lengths give the
codes. Not taken from the ``hpack`` package, which costs 17 ms to import where a job waits.
"""

from __future__ import annotations

_LENGTHS_WRITTEN = """
    13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28
    28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
     6 10 10 12 13  6  8 11 10 10  8 11  8  6  6  6
     5  5  5  6  6  6  6  6  6  6  7  8 15  6 12 10
    13  6  7  7  7  7  7  7  7  7  7  7  7  7  7  7
     7  7  7  7  7  7  7  7  8  7  8 13 19 13 14  6
    15  5  6  5  6  5  6  6  6  5  7  7  6  6  6  5
     6  7  6  5  5  6  7  7  7  7  7 15 11 14 13 28
    20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23
    24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
    22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23
    21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
    26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25
    19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
    20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23
    26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
"""
_LENGTHS = tuple(map(int, _LENGTHS_WRITTEN.split()))
"""For each byte the number of bits. The 257th symbol, the end, is only used for padding."""


def _codes() -> tuple[str, ...]:
    """Shorter codes before longer ones, those of a length in the order of their symbols."""
    codes = [""] * len(_LENGTHS)
    code = length = 0
    for byte in sorted(range(len(_LENGTHS)), key=_LENGTHS.__getitem__):
        code <<= _LENGTHS[byte] - length
        length = _LENGTHS[byte]
        codes[byte] = f"{code:0{length}b}"
        code += 1
    return tuple(codes)


_CODES = _codes()


def alignments(value: bytes) -> list[bytes]:
    """The code of ``value`` where it begins at each of a byte's eight bits: its whole bytes.

    Bits at the edges share a byte with those of other characters and are left out.
    """
    text = "".join([_CODES[byte] for byte in value])
    bits = int(text or "0", 2)
    inner = []
    for skipped in range(8):
        size, rest = divmod(max(0, len(text) - skipped), 8)
        inner.append((bits >> rest & (1 << 8 * size) - 1).to_bytes(size, "big"))
    return inner
