# SPDX-License-Identifier: MIT
"""Ways to wrap bytes up, as clients and attackers do, by the word that the path then has."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import quote

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Wrap = Callable[[bytes], bytes]

WRAPS: dict[str, Wrap] = {
    "base64": lambda data: b'{"data": "' + base64.b64encode(data) + b'"}',
    "base64url": lambda data: b"GET /?d=" + base64.urlsafe_b64encode(b"??>>" + data).rstrip(b"="),
    "hex": lambda data: b"id: " + data.hex().encode() + b"\n",
    "percent": lambda data: b"a=" + "".join(f"%{byte:02x}" for byte in data).encode() + b"&b=1",
    "json": lambda data: b'["' + b"".join(b"\\u%04x" % byte for byte in data) + b'"]',
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: zipped(data),
}
"""Each shows nothing of what is in it."""

VARIANTS: dict[str, tuple[str, Wrap]] = {
    "base64 in lines": ("base64", base64.encodebytes),
    "base64 in lines, as JSON": ("base64", lambda d: json.dumps(mime(d)).encode()),
    "base64 in lines, as a form": ("base64", lambda d: b"a=" + quote(mime(d)).encode()),
    "base64 in lines of 50": ("base64", lambda d: b"\n".join(pieces(base64.b64encode(d), 50))),
    "base64 behind letters": ("base64", lambda d: b"/upload/" + base64.b64encode(d)),
    "base64 without padding": ("base64", lambda d: base64.b64encode(d).rstrip(b"=")),
    "hex, capitals": ("hex", lambda d: d.hex().upper().encode()),
    "hex, colons": ("hex", lambda d: d.hex(":").encode()),
    "hex, of a dump": ("hex", lambda d: b"\n".join(pieces(d.hex(" ").encode(), 48))),
    "hex, of C": ("hex", lambda d: "".join(f"\\x{byte:02x}" for byte in d).encode()),
    "hex, a list": ("hex", lambda d: ", ".join(f"0x{byte:02x}" for byte in d).encode()),
    "gzip in a tar": ("gzip", lambda d: tarred(gzip.compress(d))),
    "tar in gzip": ("gzip", lambda d: gzip.compress(tarred(d))),
    "gzip of two members": ("gzip", lambda d: gzip.compress(d[:9]) + gzip.compress(d[9:])),
    "gzip, cut": ("gzip", lambda d: gzip.compress(d + bytes(range(256)) * 9)[:-200]),
    "zlib, fast": ("zlib", lambda d: zlib.compress(d, 1)),
    "zip, second member": ("zip", lambda d: zipped(b"first", d)),
}
"""Other ways of the same kinds."""


def nested(words: tuple[str, ...], data: bytes) -> bytes:
    """``data`` wrapped so that ``words`` is the way to it, the outermost first."""
    for word in reversed(words):
        data = WRAPS[word](data)
    return data


def mime(data: bytes) -> str:
    return base64.encodebytes(data).decode().replace("\n", "\r\n")


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def tarred(data: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("config/secret.env")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def zipped(*contents: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(contents):
            archive.writestr(f"member-{number}", data)
    return target.getvalue()


def chunked(data: bytes, size: int = 7, head: bytes = b"") -> bytes:
    """A request with ``data`` as its body, in chunks."""
    chunks = b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in pieces(data, size))
    head = b"POST /up HTTP/1.1\r\nHost: x.test\r\n" + head
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def post(data: bytes, head: bytes = b"", target: bytes = b"/up") -> bytes:
    """A request with ``data`` as its body."""
    length = b"Content-Length: %d\r\n" % len(data)
    return b"POST %s HTTP/1.1\r\nHost: x.test\r\n" % target + head + length + b"\r\n" + data


def http2(
    *requests: tuple[list[tuple[str, str]], bytes], size: int = 11, huffman: bool = True
) -> bytes:
    """A connection with these headers and bodies, frames of ``size`` bytes in turns."""
    encoder = hpack.Encoder()
    streams: list[list[bytes]] = []
    for number, (headers, body) in enumerate(requests):
        block = encoder.encode([(":method", "POST"), (":path", "/"), *headers], huffman=huffman)
        parts = pieces(block, 40)
        frames = [
            frame(9 if at else 1, 4 if at == len(parts) - 1 else 0, 2 * number + 1, part)
            for at, part in enumerate(parts)
        ]
        streams.append([b"".join(frames)])
        streams[-1] += [frame(0, 0, 2 * number + 1, part) for part in pieces(body, size)]
    longest = max(map(len, streams))
    turns = [stream[at] for at in range(longest) for stream in streams if at < len(stream)]
    return PREFACE + frame(4, 0, 0, b"") + b"".join(turns)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )
