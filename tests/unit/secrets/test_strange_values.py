# SPDX-License-Identifier: MIT
"""Declared values of every strange kind, from the input to the scan and the mask."""

from __future__ import annotations

import json
import random
import string
import time

import pytest

from leakstop.errors import UsageError
from leakstop.model.event import SecretHit
from leakstop.secrets.encodings import RAW
from leakstop.secrets.inventory import Secret, from_environment, parse_input
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import MAX_NEEDLES, table_of

RANDOM = random.Random(11)
LETTERS = string.ascii_letters + string.digits


def word(length: int) -> str:
    return "".join(RANDOM.choices(LETTERS, k=length))


STRANGE = {
    "every metacharacter": f"{string.punctuation}{word(4)}{string.punctuation[::-1]}",
    "patterns": rf"(?:.*)+[^{word(6)}]$\Z\1{{3}}",
    "formats": "%s%n%x{0}{name}${HOME}$(id)`id`" + word(4),
    "line breaks": f"{word(12)}\n{word(12)}\r\n{word(12)}\u2028{word(12)}",
    "NUL": f"{word(8)}\0{word(8)}\0\0{word(8)}",
    "control characters": "".join(map(chr, range(1, 32))) + word(8),
    "invalid UTF-8": b"\xff\xfe\xc3(\x80".decode("utf-8", "surrogateescape") + word(12),
    "other scripts": "пароль-密码-كلمة-🔑-" + word(6),
    "64 KiB": word(64 * 1024),
    "64 KiB of lines": "\n".join(word(63) for _ in range(1024)),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_value_is_found_and_masked(kind: str) -> None:
    secret = from_environment("STRANGE", STRANGE[kind])
    assert secret is not None
    table = table_of([secret])
    for shift in range(8):
        assert table.scan(b"-" * shift + secret.value + b"--") == table.scan(secret.value)
    assert SecretHit("STRANGE", RAW) in table.scan(secret.value)
    assert Masker([secret]).mask_bytes(b"<" + secret.value + b">") == b"<***STRANGE***>"
    assert secret.value[:20].decode("utf-8", "replace") not in repr((secret, table))


@pytest.mark.parametrize("kind", [kind for kind in STRANGE if kind != "invalid UTF-8"])
def test_a_strange_value_in_the_input(kind: str) -> None:
    (secret,) = parse_input(f"STRANGE={json.dumps(STRANGE[kind])}\n")
    assert secret.value == STRANGE[kind].strip().encode()


@pytest.mark.parametrize("value", ["production", "PassWord", "12345678", "xxxxxxxx", "sh0rt7!"])
def test_what_means_nothing_is_refused_without_saying_it(value: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_input(f"TOKEN={value}")
    assert "TOKEN" in str(refused.value) and value not in str(refused.value)


def test_one_that_begins_another() -> None:
    long = word(40)
    short = Secret("SHORT", long[:24].encode())
    secrets = [short, Secret("LONG", long.encode())]
    for order in (secrets, secrets[::-1]):
        table, masker = table_of(order), Masker(order)
        assert {hit.secret for hit in table.scan(long.encode())} == {"SHORT", "LONG"}
        assert table.scan(short.value + b" ") == (SecretHit("SHORT", RAW),)
        assert masker.mask(f"a {long} b") == "a ***LONG*** b"
        assert masker.mask(f"a {long[:24]} b") == "a ***SHORT*** b"


def test_one_value_under_two_names() -> None:
    text = word(40)
    secrets = parse_input(f"FIRST={text}\nSECOND={text}")
    assert table_of(secrets).scan(text.encode()) == (SecretHit("FIRST", RAW),)
    assert Masker(secrets).mask(text) == "***FIRST***"


def test_a_thousand() -> None:
    values = [f"key_{word(36)}" for _ in range(1000)]
    secrets = parse_input("\n".join(f"S{at}={value}" for at, value in enumerate(values)))
    began = time.process_time()
    table = table_of(secrets)
    assert time.process_time() - began < 5  # measured: 0.7 to 1 s beside other work
    assert table.stride > 8 and len(table.cores) < MAX_NEEDLES
    for at in RANDOM.sample(range(1000), 20):
        assert table.scan(f"x{values[at]}".encode()) == (SecretHit(f"S{at}", RAW),)


def test_more_than_the_limit_is_said() -> None:
    lines = "\n".join(word(40) for _ in range(1500))
    secrets = [Secret(f"S{at}", f"{lines[at:]}{word(20)}".encode()) for at in range(3)]
    table_of(secrets)
    secrets += [Secret(f"T{at}", f"key_{word(36)}".encode()) for at in range(1800)]
    with pytest.raises(UsageError, match=r"have 6\d,\d{3} forms; the limit is 60,000"):
        table_of(secrets)
