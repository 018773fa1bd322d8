# SPDX-License-Identifier: MIT
"""Which part of a long text is compared: the one that is nobody else's."""

from __future__ import annotations

import string

CORE_BYTES = 64

_LETTERS_AND_DIGITS = frozenset((string.ascii_letters + string.digits).encode())
_TRIES = 1024
"""How many places of a long value are compared: enough, and quick for 48 KiB, GitHub's limit."""


def core_of(data: bytes) -> bytes:
    """Return the 64 bytes of ``data`` with the most different letters and digits.

    Of several the last; all of it if it is shorter. Boilerplate repeats itself:
    ``{"type": "service_account"``, a token's JWT header, the first line of an OpenSSH key.
    The first 64 bytes of those are everybody's.
    """
    last = len(data) - CORE_BYTES
    if last <= 0:
        return data
    starts = range(0, last + 1, 1 + len(data) // _TRIES)

    def variety(start: int) -> int:
        return len(_LETTERS_AND_DIGITS.intersection(data[start : start + CORE_BYTES]))

    start = max(starts, key=lambda start: (variety(start), start))
    return data[start : start + CORE_BYTES]
