# SPDX-License-Identifier: MIT
"""However programs write a secret, whatever stands around it: the table finds it."""

from __future__ import annotations

import base64
import json
import re
import shlex
import string
import subprocess
from collections.abc import Callable
from urllib.parse import quote, quote_plus, urlencode

from hpack import Encoder
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from leakstop.secrets.encodings import (
    BASE64,
    BASE64_TWICE,
    BASE64URL,
    HEX,
    HPACK_HUFFMAN,
    JSON,
    PERCENT,
    RAW,
    REVERSED,
    SHELL,
)
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of

FEW = settings(max_examples=150, deadline=None, derandomize=True)

TOKEN = string.ascii_letters + string.digits + "-_"
tokens = st.text(TOKEN, min_size=20, max_size=90)
ascii_texts = st.text([chr(code) for code in range(33, 127)], min_size=12, max_size=90)
texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=12, max_size=60)
around = st.binary(max_size=24)


def encodings_found(value: bytes, data: bytes) -> set[str]:
    hits = table_of([Secret("S", value)]).scan(data)
    assert {hit.secret for hit in hits} <= {"S"}
    return {hit.encoding for hit in hits}


def real(value: bytes) -> bytes:
    """As the inventory would have it."""
    value = value.strip()
    assume(len(value) >= 12 and len(set(value)) >= 4)
    return value


BINARY: dict[str, tuple[Callable[[bytes], bytes], ...]] = {
    RAW: (bytes,),
    BASE64: (base64.b64encode, base64.urlsafe_b64encode),
    BASE64_TWICE: (
        lambda text: base64.b64encode(base64.b64encode(text)),
        lambda text: base64.b64encode(base64.urlsafe_b64encode(text)),
        lambda text: base64.urlsafe_b64encode(base64.urlsafe_b64encode(text)),
        lambda text: base64.b64encode(b"inner=" + base64.b64encode(text)),
    ),
    HEX: (lambda text: text.hex().encode(), lambda text: text.hex().upper().encode()),
    PERCENT: (
        lambda text: quote(text).encode(),
        lambda text: quote(text, safe="").encode(),
        lambda text: quote_plus(text).encode(),
        lambda text: urlencode({"key": text}).encode(),
        lambda text: "".join(f"%{byte:02x}" for byte in text).encode(),
    ),
}
"""Written with its surroundings, since those decide the alignment."""


@FEW
@given(st.one_of(st.binary(min_size=12, max_size=200), texts.map(str.encode)), around, around)
def test_any_bytes_in_any_surroundings(value: bytes, before: bytes, after: bytes) -> None:
    value = real(value)
    for encoding, writers in BINARY.items():
        for write in writers:
            found = encodings_found(value, write(before + value + after))
            # Some encodings leave some values as they are, and one alphabet fits both base64.
            assert found & {encoding, RAW, BASE64URL if encoding == BASE64 else encoding}


def _go(text: str) -> str:
    return re.sub(
        "[<>&]", lambda char: f"\\u{ord(char[0]):04x}", json.dumps(text, ensure_ascii=False)
    )


@FEW
@given(texts, st.text(max_size=12))
def test_any_text_in_json(text: str, around: str) -> None:
    value = real(text.encode())
    for write in (json.dumps, lambda text: json.dumps(text, ensure_ascii=False), _go):
        written = write(around + value.decode() + around).encode()
        assert encodings_found(value, written) & {RAW, JSON}


@FEW
@given(ascii_texts, st.text(TOKEN, max_size=12))
def test_any_text_in_a_shell(text: str, around: str) -> None:
    value = real(text.encode())
    whole = f"{around}{value.decode()}{around}"
    double = '"' + re.sub(r'(["$`\\])', r"\\\1", whole) + '"'
    for written in (shlex.quote(whole), double):
        # JSON escapes a backslash or a quotation mark in the same way.
        assert encodings_found(value, written.encode()) & {RAW, SHELL, JSON}


def test_as_bash_writes_it() -> None:
    """Ground truth: the shell that most steps run in."""
    values = [
        "pa ss'wo\"rd$1`x`;&|<>()*?[a]{b}!~#\\",
        "~#x:~/a=~b-and-17-more",
        "line one 1\nline\ttwo 2\x1b[0m'\\x",
        "plain-7-value/with+signs=",
    ]
    for text in values:
        for script in (
            'printf %q "$1"',
            'printf %s "${1@Q}"',
            "x=$1; declare -p x",
            'set -x; : "$1"',
        ):
            done = subprocess.run(
                ["/bin/bash", "-c", script, "bash", text], capture_output=True, check=True
            )
            assert encodings_found(text.encode(), done.stdout + done.stderr), (text, script)


@FEW
@given(st.text(TOKEN, min_size=27, max_size=90), st.text(TOKEN, max_size=20), st.booleans())
def test_a_token_in_a_header_of_http_2(token: str, path: str, prefixed: bool) -> None:
    value = real(token.encode())
    headers = {
        ":method": "POST",
        ":authority": "api.test",
        ":path": f"/{path}",
        "authorization": f"{'Bearer ' if prefixed else path}{token}",
    }
    frame = bytes(9) + Encoder().encode(headers.items())
    assert encodings_found(value, frame) == {HPACK_HUFFMAN}


@FEW
@given(ascii_texts)
def test_backwards(text: str) -> None:
    value = real(text.encode())
    assume(any(char.isdigit() for char in text) and any(char.isalpha() for char in text))
    assert encodings_found(value, b"-- " + value[::-1] + b" --") & {RAW, REVERSED}


@FEW
@given(st.text(TOKEN, min_size=30, max_size=60))
def test_about_forty_needles_for_a_token(text: str) -> None:
    assume(len(set(text)) > 8)
    assert len(table_of([Secret("S", text.encode())]).cores) <= 40
