# SPDX-License-Identifier: MIT
"""The byte strings that give a secret away."""

from __future__ import annotations

import base64
import json
import random
import string

import pytest

from leakstop.secrets.encodings import BASE64, BASE64URL, RAW, Needle, needles_of
from leakstop.secrets.inventory import Secret

RANDOM = random.Random(2)
ALPHABET = string.ascii_letters + string.digits + "+/"


def pem_line(length: int = 64) -> str:
    return "".join(RANDOM.choices(ALPHABET, k=length))


def raw_of(text: str) -> list[bytes]:
    needles = needles_of(Secret("S", text.encode()))
    return [needle.data for needle in needles if needle.encoding == RAW]


def test_the_value_and_its_base64_at_three_offsets() -> None:
    value = b"correct horse"
    encodings = [(needle.data, needle.encoding) for needle in needles_of(Secret("S", value))]
    assert encodings[0] == (value, RAW)
    assert [encoding for _, encoding in encodings[1:]] == [BASE64] * 3
    for shift, (data, _) in enumerate(encodings[1:]):
        for before, after in ((b"\0", b"\0"), (b"\xff", b"\xff")):
            assert data in base64.b64encode(before * (shift + 3) + value + after * 5)


def test_inner_characters_are_all_that_the_value_decides() -> None:
    # 8 bytes: 10 whole characters whatever the offset, one more on each side is shared.
    needles = needles_of(Secret("S", b"12345678"))
    assert [len(needle.data) for needle in needles] == [8, 10, 10, 10]


def test_base64url_only_where_it_differs() -> None:
    value = bytes([0xFB, 0xEF, 0xBE] * 4)
    found = {needle.encoding: needle.data for needle in needles_of(Secret("S", value))}
    assert set(found) == {RAW, BASE64, BASE64URL}
    assert found[BASE64URL] in base64.urlsafe_b64encode(b"abc" + value + b"abc")
    letters = needles_of(Secret("S", b"correct horse"))
    assert BASE64URL not in {needle.encoding for needle in letters}


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
