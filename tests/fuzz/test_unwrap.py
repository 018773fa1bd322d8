# SPDX-License-Identifier: MIT
"""What a job sends, looked through by root: nothing raises, nothing hangs."""

from __future__ import annotations

from random import Random

from fuzz.mutate import bend, fuzz
from leakstop.secrets.unwrap import ROOM, unwrap
from unit.secrets.wraps import PREFACE, VARIANTS, WRAPS, chunked, http2, nested, post

INSIDE = b'{"key": "value & more", "list": ["a", "b"]}' * 9
SAMPLES = [
    *(wrap(INSIDE) for wrap in WRAPS.values()),
    *(wrap(INSIDE) for _, wrap in VARIANTS.values()),
    chunked(INSIDE),
    post(INSIDE, b"Content-Encoding: br, deflate\r\n"),
    http2(([("x", "y" * 99)], INSIDE), ([("x", "y" * 99)], INSIDE)),
    nested(("gzip", "base64", "json"), INSIDE),
]
WORDS = [
    b"\\u", b"%", b'"', b"\r\n", b"\r\n\r\n", b"--", b"\x1f\x8b\x08", b"PK\3\4", b"\0", b"\xff",
    b"POST / HTTP/1.1\r\n", b"Content-Length: -1\r\n", PREFACE,
    b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n",
    b"\0\0\5\1\x2c\0\0\0\1\x82\x86\x84\x41\xff", b"\x3f\xe1\xff\xff\xff\x0f",
]  # fmt: skip


def test_anything() -> None:
    def take(random: Random) -> None:
        data = bend(random, SAMPLES, WORDS)
        assert sum(len(layer.data) for layer in unwrap(data)) <= len(data) + 2 * ROOM

    fuzz("unwrap", 1_500, take)
