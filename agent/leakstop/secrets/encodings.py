# SPDX-License-Identifier: MIT
"""How a secret may be written: the byte strings to look for."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from leakstop.secrets.inventory import MIN_BYTES, Secret

RAW = "raw"
BASE64 = "base64"
BASE64URL = "base64url"

_TO_URL = bytes.maketrans(b"+/", b"-_")
_LETTERS_AND_DIGITS = re.compile(rb"[A-Za-z0-9]{8,}")
_OPENSSH_FIRST_LINE = b"b3BlbnNzaC1rZXktdjE"
"""base64 of ``openssh-key-v1``: the whole first line is the same in all keys of one type."""


@dataclass(frozen=True, slots=True)
class Needle:
    """One way to write one secret."""

    data: bytes = field(repr=False)
    secret: str
    """The secret's name."""
    encoding: str
    """``raw``, ``base64`` or ``base64url``."""


def needles_of(secret: Secret) -> tuple[Needle, ...]:
    """Return all the byte strings that give ``secret`` away, each once.

    The whole value raw, in base64 and in base64url; of a value of several lines also each
    line raw, because ``\\r\\n``, an indent or a loop over the lines breaks the whole.
    """
    value = secret.value
    found: dict[bytes, str] = {value: RAW}
    for line in _telling_lines(value):
        found.setdefault(line, RAW)
    inner = [_base64_inner(value, shift) for shift in range(3)]
    for text in inner:
        found.setdefault(text, BASE64)
    for text in inner:
        # The same text when it has neither + nor /: then it is already there.
        found.setdefault(text.translate(_TO_URL), BASE64URL)
    return tuple(
        Needle(data, secret.name, encoding)
        for data, encoding in found.items()
        if len(data) >= MIN_BYTES
    )


def _base64_inner(value: bytes, shift: int) -> bytes:
    """Base64 of ``value`` behind ``shift`` unknown bytes: only what ``value`` alone decides.

    A character holds 6 bits. Those at the edges also depend on the neighbours and are left
    out, so the rest occurs whatever stands around the secret.
    """
    encoded = base64.b64encode(bytes(shift) + value)
    first = -(-8 * shift // 6)
    end = 8 * (shift + len(value)) // 6
    return encoded[first:end]


def _telling_lines(value: bytes) -> Iterator[bytes]:
    """The lines that no stranger's file has too.

    ``-----BEGIN PRIVATE KEY-----``, ``NODE_ENV=production`` or ``apiVersion: v1`` say nothing;
    a line with random text has a run of letters and digits, both, of some length.
    """
    for text in _texts(value):
        lines = [line.strip() for line in text.splitlines()]
        for line in lines if len(lines) > 1 else ():
            runs = _LETTERS_AND_DIGITS.findall(line)
            random = any(not run.isalpha() and not run.isdigit() for run in runs)
            if random and not line.startswith((b"-----", _OPENSSH_FIRST_LINE)):
                yield line


def _texts(value: bytes) -> Iterator[bytes]:
    """The value; of a JSON document the texts inside, where a key's line breaks are escaped.

    Not the document's own lines: a service account's project and address are no secret, and
    stand on ordinary command lines.
    """
    try:
        pending: list[object] = [json.loads(value)] if value.startswith(b"{") else []
    except (ValueError, RecursionError):
        pending = []
    if not pending:
        yield value
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str):
            yield item.encode("utf-8", "replace")
