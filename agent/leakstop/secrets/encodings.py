# SPDX-License-Identifier: MIT
"""How a secret may be written: the byte strings to look for."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from leakstop.secrets import huffman
from leakstop.secrets.cores import CORE_BYTES, core_of
from leakstop.secrets.inventory import MIN_BYTES, Secret

RAW = "raw"
BASE64 = "base64"
BASE64URL = "base64url"
BASE64_TWICE = "base64-twice"
BASE32 = "base32"
HEX = "hex"
PERCENT = "percent"
JSON = "json"
SHELL = "shell"
REVERSED = "reversed"
HPACK_HUFFMAN = "hpack-huffman"

_TO_URL = bytes.maketrans(b"+/", b"-_")
_PERCENT = re.compile(rb"%[0-9A-F]{2}")
_GO_ESCAPES = re.compile("[<>&\u2028\u2029]")
"""``encoding/json`` also escapes what HTML or old JavaScript would read."""
_DOTNET_ESCAPES = re.compile(r"""\\"|[&'+<>`]""")
"""The same of ``System.Text.Json``, which also writes a quotation mark as its number."""
_UNQUOTED = re.compile(rb"[ \t!\"$&'()*,;<>?\[\\\]^`{|}]|(?<=[:=])~")
"""What bash's ``printf %q`` writes a backslash before (``sh_backslash_quote``), but for ``#``
and ``~`` as the first character, which is escaped if the secret begins the word."""
_DOUBLE_QUOTED = re.compile(rb'["$`\\]')
"""What keeps a meaning between double quotes (POSIX.1-2024, XCU 2.2.3)."""
_ANSI_C = {
    **{byte: b"\\%03o" % byte for byte in (*range(32), 127)},
    **dict(zip(b"\a\b\t\n\v\f\r\x1b\\'", rb"\a \b \t \n \v \f \r \E \\ \'".split(), strict=True)),
}
"""Between ``$'`` and ``'``, as bash writes a value with control characters (``ansic_quote``)."""
_LETTERS_AND_DIGITS = re.compile(rb"[A-Za-z0-9]{8,}")
_LETTER = re.compile(rb"[A-Za-z]")
_DIGIT = re.compile(rb"[0-9]")
_LONG_WORD = 16
"""No word that reads otherwise backwards (``stressed``) is this long."""
_OPENSSH_FIRST_LINE = b"b3BlbnNzaC1rZXktdjE"
"""base64 of ``openssh-key-v1``: the whole first line is the same in all keys of one type."""


@dataclass(frozen=True, slots=True)
class Needle:
    """One way to write one secret."""

    data: bytes = field(repr=False)
    secret: str
    """The secret's name."""
    encoding: str
    """``raw``, ``base64`` and so on: the words above."""
    core: bytes = field(default=b"", repr=False)
    """The at most 64 bytes of ``data`` that are compared; ``core_of(data)`` unless given."""

    def __post_init__(self) -> None:
        if not self.core:
            object.__setattr__(self, "core", core_of(self.data))

    @property
    def start(self) -> int:
        """Where the core stands in ``data``."""
        return self.data.index(self.core)


def needles_of(secret: Secret) -> tuple[Needle, ...]:
    """Return all the byte strings that give ``secret`` away, each once.

    The whole value in every encoding; of a value of several lines also each line raw,
    because ``\\r\\n``, an indent or a loop over the lines breaks the whole.
    """
    value = secret.value
    raw = [(text, b"") for text in (value, *_telling_lines(value))]
    found: dict[bytes, Needle] = {}
    for encoding, texts in ((RAW, raw), *_written(value)):
        for data, core in texts:
            # What an encoding leaves as it is has been found before.
            if len(data) >= MIN_BYTES and data not in found:
                found[data] = Needle(data, secret.name, encoding, core)
    return tuple(found.values())


def _written(value: bytes) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
    """Each encoding, with the texts in it and the core of each; empty: choose there.

    Which part of a long value tells must be asked of the value itself: in hexadecimal
    boilerplate looks as random as a key. What a short one shares with others begins it.
    """
    telling = core_of(value)
    for encoding, write in _WRITERS.items():
        texts = write(value)
        parts = texts if telling == value else write(telling)
        cores = [next((part for part in parts if part and part in text), b"") for text in texts]
        yield (
            encoding,
            [(text, core[-CORE_BYTES:]) for text, core in zip(texts, cores, strict=True)],
        )


def _base64(value: bytes) -> list[bytes]:
    return [_inner(base64.b64encode(bytes(n) + value), 6, n, len(value)) for n in range(3)]


def _base32(value: bytes) -> list[bytes]:
    upper = [_inner(base64.b32encode(bytes(n) + value), 5, n, len(value)) for n in range(5)]
    return [*upper, *(text.lower() for text in upper)]


def _inner(encoded: bytes, bits: int, before: int, length: int) -> bytes:
    """Of ``encoded`` only what the ``length`` bytes behind the ``before`` first ones decide.

    A character holds ``bits`` bits. Those at the edges also depend on the neighbours and are
    left out, so the rest occurs whatever stands around the secret.
    """
    return encoded[-(-8 * before // bits) : 8 * (before + length) // bits]


def _base64_twice(value: bytes) -> list[bytes]:
    """The outer one has no ``+`` and no ``/`` whichever alphabet the inner one has."""
    once = _base64(value)
    return [twice for inner in (*once, *map(_to_url, once)) for twice in _base64(inner)]


def _to_url(text: bytes) -> bytes:
    return text.translate(_TO_URL)


def _percent(value: bytes) -> list[bytes]:
    """As Python, Go, curl and JavaScript write a query, a form or a path; and every byte."""
    upper = [
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        quote(value, safe="!'()*"),  # ECMA-262, encodeURIComponent
        quote_plus(value, safe="*").replace("~", "%7E"),  # WHATWG, a form; Java, too
        quote(value, safe="$&+=:@"),  # Go, url.PathEscape
        quote(value, safe="!#$%&'()*+,/:;=?@[]~"),  # requests, of a whole URL
        "".join(f"%{byte:02X}" for byte in value),
    ]
    texts = [text.encode() for text in upper]
    return [*texts, *(_PERCENT.sub(lambda code: code[0].lower(), text) for text in texts)]


def _json(value: bytes) -> list[bytes]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return []
    short, plain = (json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
    written = [
        short,
        plain,
        _GO_ESCAPES.sub(lambda char: f"\\u{ord(char[0]):04x}", plain),
        short.replace("/", r"\/"),  # PHP
        _DOTNET_ESCAPES.sub(lambda char: f"\\u{ord(char[0][-1]):04X}", short),
    ]
    return [form.encode() for form in written]


def _shell(value: bytes) -> list[bytes]:
    """Unquoted, between double quotes, between single ones (bash, Python), between ``$'`` ``'``."""
    return [
        _UNQUOTED.sub(rb"\\\g<0>", value),
        _DOUBLE_QUOTED.sub(rb"\\\g<0>", value),
        value.replace(b"'", rb"'\''"),
        value.replace(b"'", b"""'"'"'"""),
        b"".join([_ANSI_C.get(byte) or bytes((byte,)) for byte in value]),
    ]


def _reversed(value: bytes) -> list[bytes]:
    """Not of a number or a short word: backwards it may be another one."""
    letter, digit = _LETTER.search(value), _DIGIT.search(value)
    return [value[::-1]] if letter and (digit or len(value) >= _LONG_WORD) else []


_WRITERS: dict[str, Callable[[bytes], list[bytes]]] = {
    BASE64: _base64,
    BASE64URL: lambda value: [_to_url(text) for text in _base64(value)],
    BASE64_TWICE: _base64_twice,
    BASE32: _base32,
    HEX: lambda value: [value.hex().encode(), value.hex().upper().encode()],
    PERCENT: _percent,
    JSON: _json,
    SHELL: _shell,
    REVERSED: _reversed,
    HPACK_HUFFMAN: huffman.alignments,
}


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
