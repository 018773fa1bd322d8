# SPDX-License-Identifier: MIT
"""Secrets in any form, whole or in part, in any text: no eight characters of one are left."""

from __future__ import annotations

import base64
import json
import random
import shlex
import string
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from leakstop.secrets.encodings import needles_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker

ALPHABETS = (
    string.ascii_letters + string.digits,
    string.ascii_letters + string.digits + "-_",
    string.ascii_letters + string.digits + "+/=",
    "0123456789abcdef",
    string.ascii_letters + string.digits + string.punctuation,
    string.ascii_letters + string.digits + "äöüßé漢字",
)
ROUNDS = 400


def value(rng: random.Random) -> str:
    # A letter and a digit at the least: a word is masked only as a whole.
    return "k7" + "".join(rng.choices(rng.choice(ALPHABETS), k=rng.randint(14, 90)))


def some_percent(rng: random.Random, text: str) -> str:
    share = rng.random()
    return "".join(
        "".join(f"%{byte:{rng.choice('0')}2{rng.choice('xX')}}" for byte in char.encode())
        if rng.random() < share
        else char
        for char in text
    )


def some_escaped(rng: random.Random, text: str) -> str:
    share = rng.random()
    return "".join(
        rng.choice((f"\\x{ord(char):02x}", f"\\u{ord(char):04X}"))
        if rng.random() < share and char.isascii()
        else char.replace("\\", "\\\\")
        for char in text
    )


def part(rng: random.Random, text: str) -> str:
    start = rng.randrange(len(text) - 8)
    return text[start : start + rng.randint(8, len(text))]


def written_whole(rng: random.Random, text: str) -> str:
    needle = rng.choice(needles_of(Secret("S", text.encode())))
    return needle.data.decode("utf-8", "surrogateescape")


WRITERS: tuple[Callable[[random.Random, str], str], ...] = (
    lambda _, text: text,
    part,
    some_percent,
    some_escaped,
    lambda rng, text: some_percent(rng, part(rng, text)),
    lambda rng, text: some_escaped(rng, some_percent(rng, text)),
    lambda rng, text: quote(some_percent(rng, text), safe=""),
    lambda rng, text: json.dumps(f"{text}{rng.choice('x/')}"),
    lambda _, text: json.dumps(json.dumps({"key": text})),
    lambda _, text: shlex.quote(text),
    lambda _, text: quote_plus(text),
    lambda rng, text: base64.b64encode(rng.randbytes(rng.randrange(4)) + text.encode()).decode(),
    written_whole,
)


def noise(rng: random.Random) -> str:
    return "".join(rng.choices(string.printable + "é", k=rng.randint(0, 40)))


def runs(secret: str) -> set[str]:
    """Eight characters of the value each."""
    return {secret[at : at + 8] for at in range(len(secret) - 7)}


@pytest.mark.parametrize("seed", range(6))
def test_no_run_of_a_value_is_left(seed: int) -> None:
    rng = random.Random(seed)
    seen = 0
    for _ in range(ROUNDS):
        values = [value(rng) for _ in range(rng.randint(1, 4))]
        masker = Masker(())
        masker.learn(Secret(f"S{at}", text.encode()) for at, text in enumerate(values))
        text = noise(rng)
        for _ in range(rng.randint(1, 3)):
            write = rng.choice(WRITERS)
            text += rng.choice(" /=&:,;") + write(rng, rng.choice(values)) + " " + noise(rng)
        masked = masker.mask(text)
        seen += "***" in masked
        for secret in values:
            left = {run for run in runs(secret) if run in masked}
            assert not left, (text, masked)
    # Not each: ``%41`` in a value is the value's own, or what somebody wrote for a letter of it.
    assert seen > ROUNDS * 0.98


def test_what_is_nobody_s_stays() -> None:
    rng = random.Random(9)
    url = f"postgres://app:{value(rng)}@db-1.internal.test:5432/app"
    account = json.dumps({"project_id": "some-project-12345", "private_key_id": "f" * 40})
    masker = Masker([Secret("URL", url.encode()), Secret("JSON", account.encode())])
    for text in (
        "psql -h db-1.internal.test -p 5432 postgres://db.test/app",
        "gcloud --project some-project-12345",
        "curl https://home.test/%7Euser/a%2Fb?c=%41",
        r"printf 'a\tb\n\x41\u0042'",
    ):
        assert masker.mask(text) == text


@pytest.mark.parametrize("unit", ["{}", "{}%41", "%{}", "\\{}", "a1"])
def test_text_made_of_a_secret_is_done_in_time(unit: str) -> None:
    rng = random.Random(10)
    secret = "".join(rng.choices(ALPHABETS[0], k=4000))
    masker = Masker([Secret("S", secret.encode()), Secret("T", b"a1" * 2000 + b"xyz")])
    text = unit.format(secret) * (1 << 18)
    began = time.process_time()
    masker.mask(text[: 1 << 18])
    assert time.process_time() - began < 5
