# SPDX-License-Identifier: MIT
"""One value in several fields, or in several requests of one connection: put together again.

In order, once all of a kind, and once those of each name, since a sequence number or a time may
stand between two parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from urllib.parse import unquote_to_bytes

from leakstop.secrets.unwrap import http1

SPLIT = "split"

_MAX_FIELDS = 10_000
# A string of JSON, perhaps cut at its end, and whether it names the next one. Nothing in it is
# tried twice.
_STRING = re.compile(rb'"((?:[^"\\]+|\\.)*)"?\s*(:?)', re.DOTALL)
_PART = re.compile(rb"content-disposition:[^\n]{0,1024}", re.IGNORECASE)
_PART_NAME = re.compile(rb'name="([^"]{0,256})')

Field = tuple[bytes, bytes]


def values(data: bytes, _most: int) -> Iterator[tuple[str, bytes]]:
    """Values of forms and queries, of JSON, of multipart bodies, of requests."""
    requests = list(http1.requests(data))
    # The next request begins right behind a body.
    text = b"\n".join(part for one in requests for part in (one.target, one.body)) or data
    kinds = (_form(text), _json(text), _multipart(text), *_http(requests))
    joined = (_joined(islice(fields, _MAX_FIELDS)) for fields in kinds)
    yield SPLIT, b"\n".join(text for text in joined if text)


def _joined(fields: Iterable[Field]) -> bytes:
    named: dict[bytes, list[bytes]] = {}
    every: list[bytes] = []
    for name, value in fields:
        named.setdefault(name, []).append(value)
        every.append(value)
    if len(every) < 2:
        return b""
    several = [parts for parts in named.values() if 1 < len(parts) < len(every)]
    return b"\n".join(b"".join(parts) for parts in (every, *several))


def _form(data: bytes) -> Iterator[Field]:
    if b"=" not in data:
        return
    for word in data.split():
        if b"&" in word or b"?" in word:
            for part in word.rpartition(b"?")[2].split(b"&"):
                name, _, value = part.partition(b"=")
                yield name, unquote_to_bytes(value)


def _json(data: bytes) -> Iterator[Field]:
    name = b""
    for string in _STRING.finditer(data):
        if string[2]:
            name = string[1]
        else:
            yield name, string[1]


def _multipart(data: bytes) -> Iterator[Field]:
    at = 0
    while part := _PART.search(data, at):
        start = data.find(b"\r\n\r\n", part.end() - 1)
        if start < 0:
            return
        end = data.find(b"\r\n--", start)
        at = end if end >= 0 else len(data)
        name = _PART_NAME.search(part[0])
        yield (name[1] if name else b""), data[start + 4 : at]


def _http(requests: Iterable[http1.Request]) -> Iterator[Iterable[Field]]:
    """Of all requests: the ends of their paths, their bodies, and their headers."""
    yield ((b"", one.target.partition(b"?")[0].rpartition(b"/")[2]) for one in requests)
    yield ((b"", one.body) for one in requests)
    yield (header for one in requests for header in one.headers)
