# SPDX-License-Identifier: MIT
"""Each kind of wrapping is taken off; nothing takes more time or memory than it may."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import time
import tracemalloc
import zlib
from urllib.parse import quote

import brotli
import pytest

from leakstop.secrets.unwrap import ROOM, unwrap
from unit.secrets.wraps import PREFACE, VARIANTS, WRAPS, chunked, http2, pieces, post

INSIDE = b'TOKEN="' + secrets.token_hex(20).encode() + b'"' + b" and what stands behind it" * 4


def paths(data: bytes, inside: bytes = INSIDE) -> list[tuple[str, ...]]:
    """The ways to everything that holds ``inside``."""
    return [layer.path for layer in unwrap(data) if inside in layer.data]


@pytest.mark.parametrize("word", sorted(WRAPS))
def test_a_kind(word: str) -> None:
    wrapped = WRAPS[word](INSIDE)
    assert INSIDE not in wrapped
    assert (word,) in paths(wrapped)
    assert (word,) in paths(post(wrapped))


@pytest.mark.parametrize("case", sorted(VARIANTS))
def test_another_way_of_it(case: str) -> None:
    word, wrap = VARIANTS[case]
    assert INSIDE not in wrap(INSIDE)
    assert (word,) in paths(wrap(INSIDE))


def test_the_data_itself_comes_first() -> None:
    layers = unwrap(b"plain")
    assert [(layer.path, layer.data) for layer in layers] == [((), b"plain")]


def test_three_encodings_and_no_fourth() -> None:
    wrapped = INSIDE
    for depth in range(1, 6):
        wrapped = base64.b64encode(wrapped)
        assert paths(wrapped) == ([("base64",) * depth] if depth <= 3 else [])


def test_a_text_among_checksums() -> None:
    rows = [{"sum": base64.b64encode(secrets.token_bytes(32)).decode()} for _ in range(200)]
    rows[77]["sum"] = base64.b64encode(b'{"a": "' + INSIDE.hex().encode() + b'"}').decode()
    assert ("base64", "hex") in paths(json.dumps(rows).encode())


# -- HTTP ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 60])
def test_chunks(size: int) -> None:
    assert paths(chunked(INSIDE, size)) == [("chunked",)]
    assert ("chunked", "gzip") in paths(chunked(gzip.compress(INSIDE), size))


def test_a_chunk_that_is_cut() -> None:
    whole = chunked(INSIDE + bytes(100), 60)
    assert ("chunked",) in paths(whole[:-90])


@pytest.mark.parametrize(
    ("coding", "wrap", "path"),
    [
        ("deflate", lambda data: zlib.compress(data)[2:-4], ("deflate",)),
        ("deflate", zlib.compress, ("zlib",)),
        ("gzip", gzip.compress, ("gzip",)),
        ("br", brotli.compress, ("brotli",)),
    ],
)
def test_a_coding_that_a_header_tells(coding: str, wrap: object, path: tuple[str, ...]) -> None:
    assert callable(wrap)
    head = f"content-encoding: {coding}\r\n".encode()
    assert path in paths(post(wrap(INSIDE), head))
    assert paths(chunked(wrap(INSIDE), head=head))
    assert paths(post(b"first") + post(wrap(INSIDE), head))


@pytest.mark.parametrize("huffman", [True, False])
def test_http2_headers(huffman: bool) -> None:
    asked = [("x-data", INSIDE.decode())]
    stream = http2(([("x-first", "1")], b""), (asked, b""), (asked, b""), huffman=huffman)
    layers = {layer.path: layer.data for layer in unwrap(stream)}
    assert layers["http/2",].count(INSIDE) == 2, "the third refers to the second"


def test_http2_bodies_of_streams_in_turns() -> None:
    one, other = gzip.compress(INSIDE), gzip.compress(b"something else of the same length" * 3)
    assert ("http/2", "gzip") in paths(http2(([], other), ([], one)))


def test_http2_coding_in_a_header() -> None:
    body = zlib.compress(INSIDE)[2:-4]
    assert ("http/2", "deflate") in paths(http2(([("content-encoding", "deflate")], body)))


def test_http2_padding_and_priority() -> None:
    body = b"\x05" + INSIDE + bytes(5)
    frame = len(body).to_bytes(3, "big") + b"\0\x08" + (1).to_bytes(4, "big") + body
    assert ("http/2",) in paths(http2(([], b"")) + frame)


# -- one value in several places -------------------------------------------------------

PARTS = pieces(INSIDE, 9)
HEX = [part.hex().encode() for part in PARTS]
QUOTED = [quote(part).encode() for part in PARTS]
NUMBERED = list(enumerate(HEX))
PADDED = [base64.b64encode(part + b"x" * 7).decode() for part in PARTS]
SPLIT = {
    "json array": json.dumps([part.decode() for part in HEX]).encode(),
    "json of one name": json.dumps([{"n": n, "d": p.decode()} for n, p in NUMBERED]).encode(),
    "json with others": json.dumps([{"n": f"n{n}", "d": p.decode()} for n, p in NUMBERED]).encode(),
    "form": b"&".join(b"d%d=" % n + p for n, p in enumerate(QUOTED)),
    "form with others": b"&".join(b"n=%d&d=" % n + p for n, p in enumerate(QUOTED)),
    "queries": b"".join(post(b"", target=b"/?n=%d&d=%s" % (n, p)) for n, p in enumerate(QUOTED)),
    "forms of requests": b"".join(post(b"n=%d&d=%s" % (n, p)) for n, p in enumerate(QUOTED)),
    "json of requests": b"".join(post(b'{"n":"%d","d":"%s"}' % part) for part in NUMBERED),
    "requests without lengths": b"".join(b"GET / HTTP/1.0\r\n\r\n" + part for part in PARTS),
    "bodies": b"".join(map(post, PARTS)),
    "chunked bodies": b"".join(map(chunked, PARTS)),
    "paths": b"".join(post(b"", target=b"/up/" + part) for part in HEX),
    "headers": b"".join(post(b"", b"X-Data: " + part + b"\r\n") for part in HEX),
    "multipart": b"".join(
        b'--b\r\nContent-Disposition: form-data; name="p%d"\r\n\r\n%s\r\n' % (n, p)
        for n, p in enumerate(PARTS)
    ),
    "http/2 bodies": http2(*(([], part) for part in PARTS)),
}


@pytest.mark.parametrize("case", sorted(SPLIT))
def test_one_value_in_several_places(case: str) -> None:
    assert INSIDE not in SPLIT[case]
    found = paths(SPLIT[case])
    assert found and all("split" in path or path == ("chunked",) for path in found)


def test_base64_in_several_places() -> None:
    inside = b"".join(part + b"x" * 7 for part in PARTS)
    assert paths(json.dumps(PADDED).encode(), inside) == [("split", "base64")]


# -- hostile ---------------------------------------------------------------------------

BOMB = gzip.compress(bytes(64 << 20), 1)
HOSTILE = {
    "bomb": BOMB[: 64 << 10],
    "bomb in a bomb": gzip.compress(BOMB * 20),
    "brotli bomb": post(brotli.compress(bytes(256 << 20), quality=1), b"Content-Encoding: br\r\n"),
    "quotes": b'"\\' * 32768,
    "unfinished strings": b'"' + b'\\"' * 32768,
    "requests": b"GET a HTTP/1.1\r\n" * 4096,
    "requests that lie": b"POST a HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" * 1400,
    "chunks": b"POST a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 10000,
    "parts": b"content-disposition: " * 3000,
    "parts of nothing": b'content-disposition: name="a"\r\n\r\n' * 2000,
    "assignments": b"a=" * 32768,
    "ampersands": b"&" * 65536,
    "one word": b"A" * 65536,
    "capitals": b"AAA " * 16384,
    "almost requests": b"GET " + b"a" * 65000,
    "gzip heads": b"\x1f\x8b\x08\0\0\0\0\0\0\3" * 6500,
    "empty gzips": gzip.compress(b"") * 3000,
    "zip heads": b"PK\3\4" * 16384,
    "bzip2 heads": b"BZh91AY&SY" * 6500,
    "http/2 frames": PREFACE + b"\0\0\0\0\0\0\0\0\1" * 7000,
    "http/2 continuations": PREFACE + b"\0\0\1\x09\0\0\0\0\1\x82" * 6500,
    "hpack bomb": http2(*[([("x", "y" * 4000)], b"")] * 250),
    "json in json": json.dumps(json.dumps(json.dumps(["\n" * 8000]))).encode(),
    "percent": b"%25" * 21000,
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_input_is_bounded(case: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    made = sum(len(layer.data) for layer in unwrap(HOSTILE[case]))
    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made <= len(HOSTILE[case]) + 2 * ROOM
    assert took < 10, f"{took:.1f} s, traced"
    assert peak < 100 << 20, f"{peak >> 20} MiB"


def test_behind_a_bomb_there_is_still_something_to_be_seen() -> None:
    assert paths(BOMB[: 32 << 10] + base64.b64encode(INSIDE)) == [("base64",)]
