# SPDX-License-Identifier: MIT
"""The byte strings that give a secret away."""

from __future__ import annotations

import base64
import json
import random
import string

import pytest

from leakstop.secrets.encodings import (
    BASE32,
    BASE64,
    BASE64_TWICE,
    BASE64URL,
    HEX,
    JSON,
    PERCENT,
    RAW,
    REVERSED,
    SHELL,
    Needle,
    needles_of,
)
from leakstop.secrets.inventory import Secret

RANDOM = random.Random(2)
ALPHABET = string.ascii_letters + string.digits + "+/"


def written(value: bytes, encoding: str) -> list[bytes]:
    needles = needles_of(Secret("S", value))
    return [needle.data for needle in needles if needle.encoding == encoding]


def pem_line(length: int = 64) -> str:
    return "".join(RANDOM.choices(ALPHABET, k=length))


def raw_of(text: str) -> list[bytes]:
    return written(text.encode(), RAW)


def test_the_value_and_its_base64_at_three_offsets() -> None:
    value = b"correct horse"
    assert needles_of(Secret("S", value))[0].data == value
    assert len(written(value, BASE64)) == 3
    for shift, data in enumerate(written(value, BASE64)):
        for before, after in ((b"\0", b"\0"), (b"\xff", b"\xff")):
            assert data in base64.b64encode(before * (shift + 3) + value + after * 5)


def test_inner_characters_are_all_that_the_value_decides() -> None:
    # 8 bytes: 10 whole characters whatever the offset, one more on each side is shared.
    assert [len(data) for data in written(b"12345678", BASE64)] == [10, 10, 10]


def test_base64url_only_where_it_differs() -> None:
    value = bytes([0xFB, 0xEF, 0xBE] * 4)
    around = base64.urlsafe_b64encode(b"abc" + value + b"abc")
    assert any(data in around for data in written(value, BASE64URL))
    assert not written(b"correct horse", BASE64URL)


def test_base64_of_base64_and_base32_whatever_stands_around() -> None:
    value = b"correct horse 7"
    assert len(written(value, BASE64_TWICE)) == 9
    assert len(written(value, BASE32)) == 10
    for before in range(8):
        text = bytes(before) + value + b"tail"
        for once in range(4):
            twice = base64.b64encode(b"x" * once + base64.b64encode(text))
            assert any(data in twice for data in written(value, BASE64_TWICE))
        upper = base64.b32encode(text)
        assert any(data in upper for data in written(value, BASE32))
        assert any(data in upper.lower() for data in written(value, BASE32))


@pytest.mark.parametrize(
    ("encoding", "value", "texts"),
    [
        (HEX, b"key/\xfeval", {b"6b65792ffe76616c", b"6B65792FFE76616C"}),
        (PERCENT, b"a/b c+d!e", {b"a%2Fb%20c%2Bd%21e", b"a%2fb%20c%2bd%21e"}),
        (PERCENT, b"a/b c+d!e", {b"a/b%20c%2Bd%21e", b"a%2Fb+c%2Bd%21e", b"a%2Fb%20c%2Bd!e"}),
        (PERCENT, b"JKLMNOPQ", {b"%4A%4B%4C%4D%4E%4F%50%51", b"%4a%4b%4c%4d%4e%4f%50%51"}),
        (JSON, 'a"b\\c\ndé12'.encode(), {b'a\\"b\\\\c\\nd\\u00e912', 'a\\"b\\\\c\\ndé12'.encode()}),
        (JSON, b'a/b+c<d"e1', {b'a\\/b+c<d\\"e1', b'a/b+c\\u003cd\\"e1'}),
        (JSON, b'a/b+c<d"e1', {rb"a/b\u002Bc\u003Cd\u0022e1"}),
        (SHELL, b"a'b'c'd\n1", {b"a'\\''b'\\''c'\\''d\n1", rb"a\'b\'c\'d\n1"}),
        (SHELL, b"a b$c'd\"e1", {b"a\\ b\\$c\\'d\\\"e1", b"a b\\$c'd\\\"e1"}),
        (REVERSED, b"hunter2-hunter3", {b"3retnuh-2retnuh"}),
    ],
)
def test_escapes_hexadecimal_and_backwards(encoding: str, value: bytes, texts: set[bytes]) -> None:
    assert texts <= set(written(value, encoding))


def test_what_an_encoding_leaves_as_it_is_counts_as_raw() -> None:
    for encoding in (JSON, SHELL):
        assert not written(b"correct7horse", encoding)
    assert len(written(b"correct7horse", PERCENT)) == 2


@pytest.mark.parametrize("value", [b"1234567891234567", b"desserts", b"2024-01-15", b"drowssap"])
def test_numbers_and_words_are_not_looked_for_backwards(value: bytes) -> None:
    assert not written(value, REVERSED)


def test_the_core_of_every_form_is_in_the_part_that_tells() -> None:
    boilerplate = '"url": "https://accounts.test/oauth2/v1/certs", '
    token = pem_line(64).encode()
    value = boilerplate.encode() * 3 + token + b" " + boilerplate.encode() * 3
    other = Secret("S", value.replace(token, pem_line(64).encode()))
    cores = {needle.core for needle in needles_of(Secret("S", value))}
    assert not cores & {needle.core for needle in needles_of(other)}


def test_each_needle_once() -> None:
    line = pem_line()
    needles = needles_of(Secret("S", f"{line}\n{line}".encode()))
    assert len({needle.data for needle in needles}) == len(needles)
    assert [needle.data for needle in needles].count(line.encode()) == 1


def test_lines_of_a_private_key_but_not_its_armour() -> None:
    lines = [pem_line(), pem_line(), pem_line(20)]
    key = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *lines, "-----END RSA PRIVATE KEY-----"])
    assert raw_of(key) == [key.encode(), *(line.encode() for line in lines)]


def test_lines_are_the_same_with_windows_line_ends_and_indents() -> None:
    lines = [pem_line(), pem_line()]
    assert raw_of("\r\n  ".join(lines))[1:] == [line.encode() for line in lines]


def test_the_first_line_of_openssh_keys_is_everybodys() -> None:
    blob = b"openssh-key-v1\0\0\0\0\4none\0\0\0\4none\0\0\0\0\0\0\0\1\0\0\x003\0\0\0\x0bssh-ed25519"
    text = base64.b64encode(blob + RANDOM.randbytes(120)).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    assert raw_of("\n".join(lines))[1:] == [line.encode() for line in lines[1:]]


def test_settings_that_strangers_have_too_are_no_needles() -> None:
    token = pem_line(30)
    text = "\n".join(
        [
            "apiVersion: v1",
            "NODE_ENV=production",
            "PYTHON_VERSION=3.11",
            '"auth_provider_x509_cert_url": "https://accounts.test/oauth2/v1/certs",',
            f"TOKEN={token}",
        ]
    )
    assert raw_of(text)[1:] == [f"TOKEN={token}".encode()]


@pytest.mark.parametrize("indent", [None, 2])
def test_lines_of_a_key_inside_json_but_not_of_the_document(indent: int | None) -> None:
    lines = [pem_line(), pem_line()]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])
    document = {"project_id": "project123", "mail": "ci@project123.test", "keys": [{"k": key}]}
    text = json.dumps(document, indent=indent)
    assert raw_of(text) == [text.encode(), *(line.encode() for line in lines)]


def test_values_that_are_no_text_or_no_json() -> None:
    for value in (
        b"\0\xff\xfe\x80binary\n",
        b"{not json\nat all 12ab34cd",
        b"[1, 2]\n\n\n12345678",
    ):
        data = [needle.data for needle in needles_of(Secret("S", value))]
        assert data[0] == value
        assert min(map(len, data)) >= 8


def test_repr_shows_no_bytes() -> None:
    assert repr(Needle(b"value-of-it", "S", RAW)) == "Needle(secret='S', encoding='raw')"
