# SPDX-License-Identifier: MIT
"""TLS libraries and programs that this machine has installed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_CACHE = Path("etc/ld.so.cache")
_CACHE_MAX = 16 << 20
_PATH = re.compile(rb"/[^\0]{0,4000}?/lib(?:ssl3?|gnutls|nspr4)\.so[^\0/]{0,64}(?=\0)")

_PROGRAMS = ("usr/local/bin", "usr/bin", "usr/local/go/bin")
_LARGE = 1 << 20
_PROGRAMS_MAX = 8192


def libraries(root: Path = Path("/")) -> tuple[Path, ...]:
    """The files that the dynamic linker would find (ld.so.cache(5)), those of OpenSSL first."""
    try:
        with (root / _CACHE).open("rb") as file:
            cache = file.read(_CACHE_MAX)
    except OSError:
        return ()
    # In whichever format, the paths stand there as text.
    names = {root / os.fsdecode(match.group()[1:]) for match in _PATH.finditer(cache)}
    files = {name.resolve() for name in names if name.is_file()}
    return tuple(sorted(files, key=lambda file: (not file.name.startswith("libssl.so"), file)))


def programs(root: Path = Path("/")) -> Iterator[Path]:
    """Programs so large that they may have a TLS library inside, one at a time."""
    for directory in _PROGRAMS:
        try:
            entries = sorted((root / directory).iterdir())
        except OSError:
            continue
        for entry in entries[:_PROGRAMS_MAX]:
            try:
                large = entry.stat().st_size >= _LARGE
            except OSError:
                continue
            if large:
                yield entry


__all__ = ["libraries", "programs"]
