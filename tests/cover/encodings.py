# SPDX-License-Identifier: MIT
"""Ways to write a secret, each made with the tool that everyone makes it with.

Nothing of the product is used here: what it looks for is compared with what the world writes.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import brotli


@dataclass(frozen=True)
class Encoding:
    """One way to write a secret."""

    title: str
    write: Callable[[bytes], bytes]
    special: bool = False
    """The secret needs characters that the encoding changes."""
    headers: tuple[str, ...] = ()
    """Of the request whose body it is."""
    how: str = ""
    """How the body is sent, if not in one piece: see ``senders/send.py``."""
    binary: bool = False
    """Not a text: it cannot stand on a command line."""
    http: bool = False
    """It is a form of HTTP's."""

    def pieces(self, value: bytes) -> tuple[bytes, ...]:
        """What must not arrive: the parts of the body that come from the secret."""
        return (self.write(value),)


@dataclass(frozen=True)
class Split(Encoding):
    """The secret in two halves."""

    def pieces(self, value: bytes) -> tuple[bytes, ...]:
        """Either half is a part of the secret."""
        return halves(value)


def halves(value: bytes) -> tuple[bytes, bytes]:
    """Cut in the middle."""
    return value[: len(value) // 2], value[len(value) // 2 :]


def _base64(shift: int) -> Callable[[bytes], bytes]:
    return lambda value: base64.b64encode(b"x" * shift + value)


def _json(value: bytes) -> bytes:
    return json.dumps(value.decode()).encode()


@dataclass(frozen=True)
class Framed(Encoding):
    """The secret as it is, with something around it."""

    def pieces(self, value: bytes) -> tuple[bytes, ...]:
        """What is around it is nobody's secret."""
        return (value,)


def _document(value: bytes) -> bytes:
    """Long enough for a compressor to do something about it."""
    variables = {f"VARIABLE_{i}": f"some value of a variable {i}" for i in range(12)}
    return json.dumps({**variables, "TOKEN": value.decode()}).encode()


def _multipart(value: bytes) -> bytes:
    return (
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        + value
        + b"\r\n--limit--\r\n"
    )


def _wrapped(value: bytes) -> bytes:
    """As base64(1) writes a file: a line break after 76 characters, here within the secret."""
    return base64.encodebytes(b"export SOMETHING=of-some-length\nexport TOKEN=" + value + b"\n")


def _deflated(value: bytes) -> bytes:
    return zlib.compress(_document(value))


def _packed(value: bytes) -> bytes:
    return gzip.compress(_document(value), mtime=0)


ENCODINGS = {
    "raw": Encoding("as it is", lambda value: value),
    "base64-0": Encoding("base64", _base64(0)),
    "base64-1": Encoding("base64, one byte later", _base64(1)),
    "base64-2": Encoding("base64, two bytes later", _base64(2)),
    "base64url": Encoding("base64url", base64.urlsafe_b64encode),
    "base64-twice": Encoding("base64 of base64", lambda v: base64.b64encode(_base64(1)(v))),
    "base64-wrapped": Encoding("base64 in lines", _wrapped),
    "base64-twice-wrapped": Encoding(
        "base64 of base64 in lines", lambda v: base64.b64encode(_wrapped(v))
    ),
    "base64-thrice": Encoding(
        "base64 of base64 of base64", lambda v: base64.b64encode(base64.b64encode(_base64(1)(v)))
    ),
    "base32": Encoding("base32", base64.b32encode),
    "hex": Encoding("hexadecimal", lambda value: value.hex().encode()),
    "percent": Encoding("percent", lambda value: quote(value).encode(), special=True),
    "percent-all": Encoding("percent, every byte", lambda v: b"".join(b"%%%02X" % c for c in v)),
    "json": Encoding("JSON string", _json, special=True),
    "shell": Encoding(
        "shell, backslashes", lambda v: re.sub(rb"([^\w@%+=:,./-])", rb"\\\1", v), special=True
    ),
    "reversed": Encoding("backwards", lambda value: value[::-1]),
    "gzip": Encoding("gzip", _packed, binary=True, headers=("Content-Encoding: gzip",)),
    "gzip-unsaid": Encoding("gzip that no header names", _packed, binary=True),
    "deflate": Encoding("deflate", _deflated, binary=True, headers=("Content-Encoding: deflate",)),
    "brotli": Encoding(
        "brotli",
        lambda value: bytes(brotli.compress(_document(value))),
        binary=True,
        http=True,
        headers=("Content-Encoding: br",),
    ),
    "base64-of-gzip": Encoding("base64 of gzip", lambda v: base64.b64encode(_packed(v))),
    "depth-3": Encoding(
        "JSON of base64 of gzip of base64",
        lambda v: json.dumps(
            {"data": base64.b64encode(gzip.compress(_base64(1)(v), mtime=0)).decode()}
        ).encode(),
    ),
    "multipart": Framed(
        "multipart form",
        _multipart,
        http=True,
        headers=("Content-Type: multipart/form-data; boundary=limit",),
    ),
    "chunked": Split("cut by HTTP chunks", lambda v: v, how="chunked", http=True),
    "parameters": Split(
        "over two parameters", lambda value: b"a=%s&b=%s" % halves(value), http=True
    ),
    "writes": Split("over two writes", lambda value: value, how="writes"),
    "requests": Split("over two requests", lambda value: value, how="requests", http=True),
    "bytes": Encoding("one byte a write", lambda value: value, how="bytes"),
}
"""By id. HPACK's Huffman code is the client's: see the channel ``h2``."""

NAMES: dict[str, Callable[[str], tuple[str, ...]]] = {
    "raw": lambda value: (value,),
    "hex": lambda value: (value.encode().hex(),),
    "base32": lambda value: (base64.b32encode(value.encode()).decode().rstrip("=").lower(),),
    "base64url": lambda value: (base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),),
    "reversed": lambda value: (value[::-1],),
    "labels": lambda value: (f"{value[:12]}.{value[12:]}",),
    "questions": lambda value: (value[:12], value[12:]),
}
"""How a secret stands in the names that are asked for, by id: one or more, without their end."""
NAME_TITLES = {"labels": "over two labels", "questions": "over two questions"}
