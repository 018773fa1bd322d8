# SPDX-License-Identifier: MIT
"""What a job declares, and what is refused without showing it."""

from __future__ import annotations

import json
import traceback

import pytest

from leakstop.errors import ExitCode, UsageError
from leakstop.secrets.inventory import Secret, from_environment, parse_input

PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nline+one/0123456789\nline+two/0123456789\n-----END"


def refusal(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse_input(text)
    return caught.value


def test_names_values_and_homes() -> None:
    text = "A=value-of-a\nb_2@home.test=value-of-b\n_C@one.test, [2001:db8::1]:8443=x=y@z=12"
    assert parse_input(text) == (
        Secret("A", b"value-of-a"),
        Secret("b_2", b"value-of-b", ("home.test",)),
        Secret("_C", b"x=y@z=12", ("one.test", "[2001:db8::1]:8443")),
    )


def test_a_url_as_value_is_not_taken_for_a_home() -> None:
    (secret,) = parse_input("DB=postgres://user:word@db.test/app?a=b")
    assert secret == Secret("DB", b"postgres://user:word@db.test/app?a=b")


def test_a_json_string_is_decoded_so_a_private_key_fits_one_line() -> None:
    (secret,) = parse_input(f"KEY={json.dumps(PRIVATE_KEY)}")
    assert secret.value == PRIVATE_KEY.encode()


def test_a_value_that_only_begins_like_json_is_taken_as_it_is() -> None:
    (secret,) = parse_input('KEY="quoted"-and-more')
    assert secret.value == b'"quoted"-and-more'


def test_white_space_around_a_value_is_dropped() -> None:
    assert parse_input('  A=value-of-a \r\nB="value-of-b\\n"\r\n') == (
        Secret("A", b"value-of-a"),
        Secret("B", b"value-of-b"),
    )


@pytest.mark.parametrize("text", ["", "\n \n\r\n", "A=", 'A=""', "A=null", "A=  ", 'A=" \\n"'])
def test_empty_values_and_lines_are_ignored_as_in_a_fork(text: str) -> None:
    assert parse_input(text) == ()


def test_only_line_feeds_end_a_line() -> None:
    (secret,) = parse_input("A=form\x0cfeed\u2028and more")
    assert secret.value == "form\x0cfeed\u2028and more".encode()


def test_a_nul_byte_is_part_of_the_value() -> None:
    (secret,) = parse_input('A="ab\\u0000cdefgh"')
    assert secret.value == b"ab\0cdefgh"


def test_a_key_that_spills_over_the_lines_is_refused_with_the_cure() -> None:
    error = refusal(f"GOOD=good-value-1\nKEY={PRIVATE_KEY}")
    assert error.where == "secrets, line 3"
    assert "toJSON(secrets.NAME)" in error.fix


def test_the_padding_at_the_end_of_wrapped_base64_is_no_secret() -> None:
    assert "toJSON(secrets.NAME)" in refusal("KEY=QUJDREVGR0hJSktMTU5PUA\nUVJT==").fix


@pytest.mark.parametrize("text", ["{", '{\n  "A": "value-of-a"\n}'])
def test_the_whole_secrets_context_is_refused_with_its_own_words(text: str) -> None:
    error = refusal(text)
    assert error.where == "secrets, line 1"
    assert "toJSON(secrets)" in error.why


@pytest.mark.parametrize("line", ["MY-KEY=some-value", "1A=some-value", "some-value", "=x", "é=x"])
def test_a_line_that_is_no_declaration_is_refused(line: str) -> None:
    assert refusal(f"\n{line}").where == "secrets, line 2"


@pytest.mark.parametrize("home", ["", " ", "one.test,", ",one.test"])
def test_an_empty_home_is_refused(home: str) -> None:
    assert refusal(f"A@{home}=some-value").what == "A@ names no home"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1234567", "is shorter than 8 bytes"),
        ("TRUE", "is a common word"),
        ("false", "is a common word"),
        ("Production", "is a common word"),
        ("password", "is a common word"),
        ("xxxxxxxxxxxx", "has fewer than 4 different characters"),
        ("npm_token", "is its own name"),
    ],
)
def test_a_value_that_cannot_be_watched_is_refused(value: str, problem: str) -> None:
    error = refusal(f"\nNPM_TOKEN={value}")
    assert error.what == f"the value of NPM_TOKEN {problem}"
    assert error.where == "secrets, line 2"
    assert error.exit_code is ExitCode.USAGE


def test_8_bytes_are_enough() -> None:
    assert parse_input("A=12345678a") and parse_input("A=éèàù")


def test_a_name_twice_is_refused_even_when_one_is_empty() -> None:
    error = refusal("A=\nB=value-of-b\nA=value-of-a")
    assert (error.what, error.where) == ("A is declared twice", "secrets, line 3")
    assert error.why == "the first one is on line 1"


def test_a_value_that_is_no_unicode_is_refused() -> None:
    assert refusal('A="abcdefgh\\ud800"').what == "the value of A is not valid Unicode"


@pytest.mark.parametrize(
    "text",
    [
        "A={value}\nA={value}",
        "A={value}\n{value}",
        "{value}",
        "A@={value}",
        "A-B={value}",
        'A="{value}\\ud800"',
        "A=x\n{value}",
        "{value}==",
    ],
)
def test_no_error_shows_any_part_of_a_value(text: str) -> None:
    value = "Zq7Wk9Xv"
    with pytest.raises(UsageError) as caught:
        parse_input(text.replace("{value}", value))
    shown = "".join(traceback.format_exception(caught.type, caught.value, None)) + repr(
        (caught.value, caught.value.__context__, caught.value.__cause__)
    )
    assert not [value[at : at + 3] for at in range(6) if value[at : at + 3] in shown]
    assert caught.value.__context__ is None


def test_repr_shows_no_value() -> None:
    (secret,) = parse_input("A@home.test=Zq7Wk9Xv")
    assert repr(secret) == "Secret(name='A', home=('home.test',), source='')"
    assert "Zq7Wk9Xv" not in f"{secret} {[secret]}"


def test_from_environment() -> None:
    assert from_environment("TOKEN", "value-of-it\n") == Secret("TOKEN", b"value-of-it")
    assert from_environment("TOKEN", "bytes-\udcff\udcfe") == Secret("TOKEN", b"bytes-\xff\xfe")
    assert from_environment("TOKEN", '"not-decoded"') == Secret("TOKEN", b'"not-decoded"')
    assert from_environment("TOKEN", "") is None


def test_from_environment_refuses_what_cannot_be_watched() -> None:
    with pytest.raises(UsageError, match="TOKEN is not set"):
        from_environment("TOKEN", None)
    with pytest.raises(UsageError, match="the value of TOKEN is shorter than 8 bytes"):
        from_environment("TOKEN", "short")


def test_a_value_given_as_a_name_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        from_environment("Zq7-Wk9Xv", None)
    assert "Zq7" not in str(caught.value)
