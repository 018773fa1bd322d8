# SPDX-License-Identifier: MIT
"""Secrets in text become ``***NAME***``; the properties are in tests/property/test_needles.py."""

from __future__ import annotations

import base64
import random
import string
import time

import pytest

from leakstop.secrets.encodings import needles_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.masker import Masker

RANDOM = random.Random(4)
TOKEN = "".join(RANDOM.choices(string.ascii_letters + string.digits, k=40))
MASKER = Masker([Secret("TOKEN", TOKEN.encode())])


def test_every_occurrence() -> None:
    assert MASKER.mask(f"curl -d {TOKEN} -H x:{TOKEN}") == "curl -d ***TOKEN*** -H x:***TOKEN***"


def test_text_without_a_secret_stays() -> None:
    assert MASKER.mask("curl https://home.test/é") == "curl https://home.test/é"
    assert Masker([]).mask("anything") == "anything"


def test_what_is_learnt_later_is_masked_from_then_on() -> None:
    later = "".join(RANDOM.choices(string.ascii_letters, k=40))
    masker = Masker([Secret("TOKEN", TOKEN.encode())])
    assert later in masker.mask(f"{TOKEN} {later}")
    masker.learn([Secret("LATER", later.encode())])
    assert masker.mask(f"{TOKEN} {later}") == "***TOKEN*** ***LATER***"


def test_the_whole_base64_run_goes_with_its_padding() -> None:
    blob = base64.b64encode(f"user:{TOKEN}!".encode()).decode()
    assert (
        MASKER.mask(f"Authorization: Basic {blob}, more")
        == "Authorization: Basic ***TOKEN***, more"
    )


def test_every_form_and_its_beginning_in_a_cut_text() -> None:
    secret = Secret("S", f'{TOKEN[:12]} 7"$&/+?>?>{TOKEN[12:30]}'.encode())
    masker = Masker([secret])
    for needle in needles_of(secret):
        assert masker.mask_bytes(b"<" + needle.data + b">") == b"<***S***>", needle.encoding
        assert masker.mask_bytes(b"<" + needle.data[:-1]) == b"<***S***", needle.encoding


@pytest.mark.parametrize("length", [4, 5, 8, 39])
def test_a_beginning_at_the_end_of_a_cut_text_goes(length: int) -> None:
    assert MASKER.mask(f"curl -d {TOKEN[:length]}") == "curl -d ***TOKEN***"


def test_three_bytes_tell_nothing() -> None:
    assert MASKER.mask(f"curl -d {TOKEN[:3]}") == f"curl -d {TOKEN[:3]}"


def test_a_beginning_elsewhere_or_in_a_whole_text_stays() -> None:
    assert MASKER.mask(f"{TOKEN[:6]} x") == f"{TOKEN[:6]} x"
    assert MASKER.mask(f"x {TOKEN[:6]}", cut=False) == f"x {TOKEN[:6]}"


def test_what_the_scan_would_find_of_a_long_value_goes_as_far_as_it_reaches() -> None:
    # Not a cut text, yet not all of the value: the core is there, so it is masked.
    long = "".join(RANDOM.choices(string.ascii_letters, k=300))
    masker = Masker([Secret("LONG", long.encode())])
    assert masker.mask(f"a {long[:-1]} b") == "a ***LONG*** b"


def test_a_secret_inside_another_is_masked_with_the_longer_one() -> None:
    masker = Masker([Secret("PART", TOKEN[5:20].encode()), Secret("WHOLE", TOKEN.encode())])
    assert masker.mask(f"<{TOKEN}>") == "<***WHOLE***>"
    assert masker.mask(f"<{TOKEN[5:20]}>") == "<***PART***>"


def test_secrets_that_overlap_leave_nothing_between() -> None:
    masker = Masker([Secret("A", TOKEN[:20].encode()), Secret("B", TOKEN[12:].encode())])
    assert masker.mask(f"<{TOKEN}>") == "<***B***>"


def test_occurrences_that_overlap_leave_nothing() -> None:
    masker = Masker([Secret("AB", b"abcdabcdabcd")])
    assert masker.mask("<abcdabcdabcdabcd>") == "<***AB***>"


def test_neighbours_are_both_named() -> None:
    masker = Masker([Secret("A", TOKEN[:20].encode()), Secret("B", TOKEN[20:].encode())])
    assert masker.mask(f"<{TOKEN}>") == "<***A******B***>"


def test_a_value_of_several_lines_line_by_line() -> None:
    lines = [TOKEN, TOKEN[::-1]]
    masker = Masker([Secret("KEY", "\n".join(lines).encode())])
    assert masker.mask("\n".join(lines)) == "***KEY***"
    assert masker.mask(f"{lines[1]}\r\n  {lines[0]}") == "***KEY***\r\n  ***KEY***"


def test_nul_and_invalid_utf8() -> None:
    value = b"\xff\xfe\0binary\x80value"
    masker = Masker([Secret("BIN", value)])
    for errors in ("surrogateescape", "replace"):
        assert masker.mask(f"<{value.decode('utf-8', errors)}>") == "<***BIN***>"
    assert masker.mask_bytes(b"\xf0" + value + b"\xff") == b"\xf0***BIN***\xff"


def test_the_result_is_valid_text() -> None:
    assert MASKER.mask(f"\udcff{TOKEN}\ud800") == "\ufffd***TOKEN***\ufffd"


def test_a_secret_repeated_in_one_base64_run_takes_no_longer_than_its_length() -> None:
    # 300 KiB that hold 10,000 occurrences: quadratic work would take minutes.
    data = base64.b64encode(TOKEN[:24].encode() * 10_000)
    masker = Masker([Secret("TOKEN", TOKEN[:24].encode())])
    began = time.process_time()
    assert masker.mask_bytes(b"<" + data + b">") == b"<***TOKEN***>"
    assert time.process_time() - began < 5
