# SPDX-License-Identifier: MIT
"""Tokens in any bytes: found in all surroundings, and nothing found in ordinary text."""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from leakstop.secrets.shapes import find_shapes
from unit.secrets.test_checksums import body, with_crc
from unit.secrets.test_formats import ALNUM, BASE64, BENIGN, EXAMPLES, LOWER_HEX, Example, some

RANDOM = random.Random(8)
NOT_ALONE = {
    "AWS access key id",
    "Azure shared access signature",
    "Google Cloud service account key",
    "JSON Web Token",
    "database URL",
}
"""Names an account only; belongs at the host in it; is seen as its private key; is everywhere."""
BY_ITSELF = [each for each in EXAMPLES if each[1] == "T" and each[0] not in NOT_ALONE]
SURROUNDINGS: tuple[Callable[[str], bytes], ...] = (
    lambda value: value.encode(),
    lambda value: f"POST /x HTTP/1.1\r\nAuthorization: Bearer {value}\r\n\r\n".encode(),
    lambda value: f"https://api.test/v1?a=1&token={value}&b=2".encode(),
    lambda value: f"'{value}',".encode(),
    lambda value: f"x=\"{value}\"; y='z'".encode(),
    lambda value: b"\0\xff" + value.encode() + b"\xff\0",
)


@pytest.mark.parametrize("example", BY_ITSELF, ids=[f"{e[0]} {i}" for i, e in enumerate(BY_ITSELF)])
def test_every_format_in_any_surroundings(
    example: Example,
) -> None:
    kind, _, make, _ = example
    for surround in SURROUNDINGS:
        value = make()
        (shape,) = find_shapes(bytes(RANDOM.randrange(9)) + surround(value))
        assert shape.form.kind == kind
        # A connection string goes on over all that is no space and no quotation mark.
        assert shape.value == value.encode() or (
            ";AccountKey=" in value and shape.value.startswith(value.encode())
        )


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each[0] in NOT_ALONE])
def test_what_tells_nothing_by_itself(example: Example) -> None:
    kind, _, make, _ = example
    for surround in SURROUNDINGS:
        expected = {"private key"} if kind == "Google Cloud service account key" else set()
        assert {shape.form.kind for shape in find_shapes(surround(make()))} == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (lambda key: f"aws_secret_access_key = {key}\n", "AWS secret access key"),
        (lambda key: json.dumps({"SecretAccessKey": key, "x": 1}), "AWS secret access key"),
        (lambda key: f"export AWS_SECRET_ACCESS_KEY='{key}'", "AWS secret access key"),
    ],
)
def test_a_value_that_only_its_name_tells(text: Callable[[str], str], kind: str) -> None:
    key = some(BASE64, 39) + "7"
    (shape,) = find_shapes(text(key).encode())
    assert (shape.form.kind, shape.value) == (kind, key.encode())
    assert find_shapes(text(key).encode().lower().replace(b"secret", b"some")) == ()


def test_other_names() -> None:
    for text, kind in (
        (f"DD_API_KEY={some(LOWER_HEX, 32)}", "Datadog key"),
        (f'"dd-api-key": "{some(LOWER_HEX, 32)}"', "Datadog key"),
        (f"CLOUDFLARE_API_TOKEN: {some(ALNUM, 40)}", "Cloudflare API token"),
        (f"CF_API_KEY={some(LOWER_HEX, 37)}", "Cloudflare API token"),
    ):
        assert [shape.form.kind for shape in find_shapes(text.encode())] == [kind], text


def test_a_checksum_makes_certain() -> None:
    right, wrong = with_crc("ghp_", body()), with_crc("npm_", body())[:-1] + "-"
    (shape,) = find_shapes(right.encode())
    assert shape.certain
    token = "dckr_pat_" + body()[:27]
    (shape,) = find_shapes(f"{wrong} {token}".encode())
    assert shape.form.kind == "Docker Hub token" and not shape.certain


def test_each_value_once_and_none_is_shown() -> None:
    one, two = f"ghp_{some(ALNUM, 36)}", f"npm_{some(ALNUM, 36)}"
    shapes = find_shapes(f"{two} {one} {two}".encode())
    assert [shape.value.decode() for shape in shapes] == [two, one]
    assert one[4:] not in repr(shapes) and two[4:] not in repr(shapes)


MORE_BENIGN: dict[str, Callable[[], str]] = {
    "lock file": lambda: json.dumps(
        {"resolved": "https://index.test/x.tgz", "integrity": BENIGN["integrity"]()}
    ),
    "hashes of requirements": lambda: f"x==1 --hash=sha256:{some(LOWER_HEX, 64)}",
    "names in a program": lambda: "self.my_live_test_value = sk_test_something_longer",
    "a package": lambda: "pypi-some-very-long-name-of-a-package-that-nobody-has-ever-seen-before",
    "a placeholder": lambda: "xoxb-your-token-goes-here-please",
    "a variable": lambda: "token: ${{ secrets.GITHUB_TOKEN }} ghp_$TOKEN glpat-${TOKEN}",
    "all the same": lambda: "ghp_" + "0" * 36 + " AIza" + "a" * 35,
    "certificate": lambda: (
        f"-----BEGIN CERTIFICATE-----\n{some(BASE64, 64)}\n-----END CERTIFICATE-----"
    ),
    "public key": lambda: (
        f"-----BEGIN PUBLIC KEY-----\n{some(BASE64, 64)}\n-----END PUBLIC KEY-----"
    ),
    "signed request": lambda: (
        f"Credential=AKIA{some('ABCDEFGH234567', 16)}/20260101/eu/s3/aws4_request"
    ),
    "bearer of a registry": lambda: (
        f"Authorization: Bearer ey{some(ALNUM, 30)}.ey{some(ALNUM, 90)}.{some(ALNUM, 80)}"
    ),
    "part of a word": lambda: f"x{some(ALNUM, 9)}ghp_{some(ALNUM, 36)}x",
    "form": lambda: urlencode({"id": some(ALNUM, 30), "time": "12:30:59", "key": some(ALNUM, 40)}),
    "Datadog's commit": lambda: f"datadog_commit: {some(LOWER_HEX, 40)}",
}


@pytest.mark.parametrize("kind", [*BENIGN, *MORE_BENIGN])
def test_ordinary_text_has_no_shape(kind: str) -> None:
    make = {**BENIGN, **MORE_BENIGN}[kind]
    for _ in range(50):
        text = make()
        for surround in SURROUNDINGS:
            assert find_shapes(surround(text)) == (), text


def test_random_and_encoded_data_have_no_shape() -> None:
    for _ in range(20):
        noise = RANDOM.randbytes(64 * 1024)
        for data in (noise, base64.b64encode(noise), base64.urlsafe_b64encode(noise)):
            assert find_shapes(data) == ()


@pytest.mark.parametrize(
    "piece",
    [
        b"-----BEGIN PRIVATE KEY-----",
        b"ghp_",
        b"sk-ant-",
        b"https://hooks.slack.com/services/",
        b"AccountKey=",
        b"T3BlbkFJ ",
        b".AAAAAA." + b"a" * 30,
        b"secret_access_key=" + b"a" * 39,
    ],
)
def test_data_made_of_anchors_is_done_in_time(piece: bytes) -> None:
    data = (piece * (1 << 18))[: 1 << 18]
    began = time.process_time()
    find_shapes(data)
    assert time.process_time() - began < 2  # measured: at most 0.3 s beside other work


def test_letters_alone_are_enough_if_mixed() -> None:
    value = "gho_" + "".join(RANDOM.choices(string.ascii_letters, k=36))
    assert [shape.value for shape in find_shapes(value.encode())] == [value.encode()]
