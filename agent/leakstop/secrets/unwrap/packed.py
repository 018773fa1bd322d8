# SPDX-License-Identifier: MIT
"""Compression: gzip, zlib, bzip2, xz, zstd and the members of a zip file, wherever they begin."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

DEFLATE = "deflate"
BROTLI = "brotli"

_MEMORY = 32 << 20
"""xz's and zstd's dictionaries may be larger than what they give."""
_ATTEMPTS = 256
"""Places that look like a beginning."""
_BROTLI_PIECE = 4
"""Too short for the heads of three meta-blocks, each of which makes at most 16 MiB (RFC 7932)."""

# RFC 1952, RFC 1950 with a window of 32 KiB, bzip2, xz, RFC 8878, and a zip's local file header.
_BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    "gzip": (b"\x1f\x8b\x08",),
    "zlib": (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
    "bzip2": (b"BZh",),
    "xz": (b"\xfd7zXZ\0",),
    "zstd": (b"\x28\xb5\x2f\xfd",),
    "zip": (b"PK\3\4",),
}
_ALL = tuple(beginning for kind in _BEGINNINGS.values() for beginning in kind)
_ZIP_HEAD = 30
_ZIP_DEFLATED = 8


def members(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """What is compressed, each kind's members joined, ``most`` bytes of it."""
    view = memoryview(data)
    for kind, beginnings in _BEGINNINGS.items():
        found: list[bytes] = []
        for start in islice(_places(data, beginnings), _ATTEMPTS):
            if most <= 0:
                break
            found.append(_KINDS[kind](view[start:], most))
            most -= len(found[-1])
        yield kind, b"".join(found)


def is_packed(data: bytes) -> bool:
    """Whether ``data`` begins like something compressed."""
    return data.startswith(_ALL)


def coded(coding: bytes, data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """A body in a content coding that has no beginning of its own."""
    if most <= 0:
        return
    if coding == b"deflate":  # RFC 9110 means zlib; what some clients send has no head
        yield DEFLATE, _inflated(memoryview(data), most, -zlib.MAX_WBITS)
    elif coding == b"br":
        yield BROTLI, _brotli(data, most)


def _places(data: bytes, beginnings: Iterable[bytes]) -> Iterator[int]:
    for beginning in beginnings:
        at = data.find(beginning)
        while at >= 0:
            yield at
            at = data.find(beginning, at + 1)


def _inflated(view: memoryview, most: int, window: int) -> bytes:
    try:
        return zlib.decompressobj(window).decompress(view, most)
    except zlib.error:
        return b""


def _gzip(view: memoryview, most: int) -> bytes:
    return _inflated(view, most, 16 + zlib.MAX_WBITS)


def _zlib(view: memoryview, most: int) -> bytes:
    return _inflated(view, most, zlib.MAX_WBITS)


def _zip(view: memoryview, most: int) -> bytes:
    """A member; one that is stored lies open, and what the head says of sizes may be a lie."""
    method = int.from_bytes(view[8:10], "little")
    if method != _ZIP_DEFLATED:
        return b""
    name, extra = (int.from_bytes(view[at : at + 2], "little") for at in (26, 28))
    return _inflated(view[_ZIP_HEAD + name + extra :], most, -zlib.MAX_WBITS)


def _none(view: memoryview, most: int) -> bytes:
    """Of what this Python was built without."""
    return b""


try:
    import bz2

    def _bzip2(view: memoryview, most: int) -> bytes:
        try:
            return bz2.BZ2Decompressor().decompress(view, most)
        except (OSError, ValueError):
            return b""

except ImportError:
    _bzip2 = _none

try:
    import lzma

    def _xz(view: memoryview, most: int) -> bytes:
        try:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY).decompress(view, most)
        except (lzma.LZMAError, MemoryError):
            return b""

except ImportError:
    _xz = _none

try:
    from compression import zstd  # type: ignore[import-not-found]  # Python 3.14

    _LIMIT = {zstd.DecompressionParameter.window_log_max: _MEMORY.bit_length() - 1}

    def _zstd(view: memoryview, most: int) -> bytes:
        try:
            return bytes(zstd.ZstdDecompressor(options=_LIMIT).decompress(view, most))
        except (zstd.ZstdError, ValueError):
            return b""

except ImportError:
    _zstd = _none

try:
    import brotli  # type: ignore[import-untyped]  # where the system has it: ADR 0006

    def _brotli(data: bytes, most: int) -> bytes:
        unpacker = brotli.Decompressor()
        made: list[bytes] = []
        try:
            for start in range(0, len(data), _BROTLI_PIECE):
                made.append(unpacker.process(data[start : start + _BROTLI_PIECE]))
                most -= len(made[-1])
                if most <= 0:
                    break
        except brotli.error:
            pass
        return b"".join(made)

except ImportError:

    def _brotli(data: bytes, most: int) -> bytes:
        return b""


_KINDS: dict[str, Callable[[memoryview, int], bytes]] = {
    "gzip": _gzip,
    "zlib": _zlib,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstd": _zstd,
    "zip": _zip,
}
