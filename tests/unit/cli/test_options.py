# SPDX-License-Identifier: MIT
"""Secrets from a descriptor: read whole, closed, never inherited."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from lab import tokens
from leakstop.cli import options
from leakstop.cli.options import Wish
from leakstop.errors import UsageError


def wish(*arguments: str) -> Wish:
    parser = argparse.ArgumentParser()
    options.add_policy_options(parser)
    return options.wish(parser.parse_args(arguments))


def opened(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY)


def is_open(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").exists()


def test_the_lines_are_those_of_the_input(tmp_path: Path) -> None:
    one, two = tokens.home_made().value, tokens.home_made().value
    text = f'A={one}\nB@one.test,two.test:8443={two}\nKEY="first-line-{one}\\nsecond"\n\nEMPTY=\n'
    descriptor = opened(tmp_path / "s", text.encode())
    found = wish("--secrets-fd", str(descriptor)).secrets
    assert [(secret.name, secret.home) for secret in found] == [
        ("A", ()),
        ("B", ("one.test", "two.test:8443")),
        ("KEY", ()),
    ]
    assert found[2].value == f"first-line-{one}\nsecond".encode()
    assert not is_open(descriptor)


def test_bytes_that_are_no_utf8_stay_what_they_are(tmp_path: Path) -> None:
    value = b"\xff\xfe" + tokens.home_made().value.encode()
    (secret,) = wish("--secrets-fd", str(opened(tmp_path / "s", b"A=" + value))).secrets
    assert secret.value == value


def test_both_ways_add_up_and_a_name_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tokens.home_made().value, tokens.home_made().value
    monkeypatch.setenv("TWO", two)
    descriptor = str(opened(tmp_path / "s", f"ONE={one}\nTWO={two}\n".encode()))
    found = wish("--secrets-fd", descriptor, "--secret", "TWO").secrets
    assert [secret.name for secret in found] == ["ONE", "TWO"]


@pytest.mark.parametrize("descriptor", ["0", "1", "2", "997", "-1"])
def test_what_cannot_be_read_is_said_with_a_cure(descriptor: str) -> None:
    with pytest.raises(UsageError) as caught:
        wish(f"--secrets-fd={descriptor}")
    assert "3< FILE" in str(caught.value)
    assert is_open(0) and is_open(1)


def test_what_is_wrong_in_it_is_said_without_a_value(tmp_path: Path) -> None:
    value = tokens.home_made().value
    for text in (f"{value}\n", f"A=short\nB={value}\n"):
        descriptor = opened(tmp_path / "s", text.encode())
        with pytest.raises(UsageError) as caught:
            wish("--secrets-fd", str(descriptor))
        assert f"--secrets-fd {descriptor}, line 1" in str(caught.value)
        assert value not in str(caught.value)
        assert not is_open(descriptor)
