# SPDX-License-Identifier: MIT
"""HTTP/1 requests: their bodies taken out of chunks, and out of codings that a header tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from leakstop.secrets.unwrap import packed

CHUNKED = "chunked"

_MAX_REQUESTS = 256
_MAX_HEADERS = 256
_LINE = re.compile(rb"[A-Z]{3,16} (\S{1,16384}) HTTP/1\.[01]\r?\n")
_VERSION = b" HTTP/1."
"""Found faster than a whole line, where there is none."""
_HEAD_END = re.compile(rb"\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,256}\r?\n")

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as far as it is there."""

    target: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    """Names in lower case."""
    body: bytes = field(repr=False)
    chunked: bool

    @property
    def codings(self) -> list[bytes]:
        """What its body was put into, the first first."""
        return [word.strip() for word in _last(self.headers, b"content-encoding").split(b",")]


def requests(data: bytes) -> Iterator[Request]:
    """Find requests; what is between them is skipped."""
    at = 0
    for _ in range(_MAX_REQUESTS if _VERSION in data else 0):
        line = _LINE.search(data, at)
        if line is None:
            return
        end = _HEAD_END.search(data, line.end() - 1)
        at = start = end.end() if end else len(data)
        head = data[line.end() : start].split(b"\n", _MAX_HEADERS)[:_MAX_HEADERS]
        pairs = (row.partition(b":") for row in head)
        headers = tuple((n.strip().lower(), value.strip()) for n, colon, value in pairs if colon)
        length = _last(headers, b"content-length")
        if b"chunked" in _last(headers, b"transfer-encoding"):
            body, at = _dechunked(data, start)
            request = Request(line[1], headers, body, True)
        elif length.isdigit() and len(length) < 12:
            at = start + int(length)
            request = Request(line[1], headers, data[start:at], False)
        else:
            following = _LINE.search(data, start)
            at = following.start() if following else len(data)
            request = Request(line[1], headers, data[start:at], False)
        yield request
        if at > len(data):
            return


def bodies(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """Chunked bodies of all requests, joined; and what a header says to be compressed."""
    chunked: list[bytes] = []
    for request in requests(data):
        if request.chunked:
            chunked.append(request.body)
        for coding in request.codings:
            yield from packed.coded(coding, request.body, most)
    yield CHUNKED, b"".join(chunked)


def _last(headers: Headers, name: bytes) -> bytes:
    """The last header of that name, in lower case."""
    return next((value.lower() for each, value in reversed(headers) if each == name), b"")


def _dechunked(data: bytes, at: int) -> tuple[bytes, int]:
    """The body, and where it ends; a chunk that is cut counts as far as it is there."""
    parts: list[bytes] = []
    while chunk := _CHUNK.match(data, at):
        size = int(chunk[1], 16)
        at = min(chunk.end() + size, len(data))
        parts.append(data[chunk.end() : at])
        if not size:
            break
        at += 2 if data.startswith(b"\r\n", at) else 0
    return b"".join(parts), at
