# SPDX-License-Identifier: MIT
"""The kernel reads names in DNS messages, and refuses what only looks like one."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from bpf.harness import DataPlane, question, wire
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables

pytestmark = pytest.mark.root

HEADER = bytes(12)


@pytest.fixture(scope="module")
def plane() -> Iterator[DataPlane]:
    policy = Policy()
    with DataPlane(policy, compile_tables(policy)) as made:
        yield made


@pytest.mark.parametrize(
    "name", ["a.test", "A.Very.Long-Name_1.test", "x" * 63 + ".test", "", ".".join(["a"] * 127)]
)
def test_reads(plane: DataPlane, name: str) -> None:
    message = question(wire(name))
    read = plane.read_name(message, 12)
    assert read.result == 0
    assert (read.name[: read.name_len].decode(), read.end) == (name, len(message) - 4)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\x40abc\0", id="reserved label type"),
        pytest.param(b"\xc0\x0c", id="compression in a question"),
        pytest.param(b"\x04a.bc\0", id="dot inside a label"),
        pytest.param(b"\x03a\0b\0", id="NUL inside a label"),
        pytest.param(b"\x02\xc3\xa9\0", id="byte above ASCII"),
        pytest.param(wire(".".join(["a" * 50] * 5))[:-1] + b"\x01b\0", id="255 characters"),
    ],
)
def test_refuses(plane: DataPlane, bad: bytes) -> None:
    assert plane.read_name(question(bad), 12).result == -1


@pytest.mark.parametrize("length", range(1, 9))
def test_truncated(plane: DataPlane, length: int) -> None:
    assert plane.read_name(HEADER + wire("abcdefgh.test")[:length], 12).result == -1


def test_compression(plane: DataPlane) -> None:
    base = HEADER + wire("example.test")
    pointed = base + b"\x03www" + b"\xc0\x0c"
    whole = plane.read_name(HEADER + wire("www.example.test"), 12, keep=False)
    read = plane.read_name(pointed, len(base), keep=False)
    assert (read.result, read.hash, read.end) == (0, whole.hash, len(pointed))
    assert plane.read_name(base, 12, keep=False).hash != whole.hash


def test_letter_case_does_not_count(plane: DataPlane) -> None:
    assert (
        plane.read_name(HEADER + wire("WWW.Example.TEST"), 12, keep=False).hash
        == plane.read_name(HEADER + wire("www.example.test"), 12, keep=False).hash
    )


@pytest.mark.parametrize("loop", [b"\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\x01a\xc0\x0c"])
def test_compression_loops_end(plane: DataPlane, loop: bytes) -> None:
    assert plane.read_name(HEADER + loop, 12, keep=False).result == -1


def test_pointer_behind_the_message(plane: DataPlane) -> None:
    assert plane.read_name(HEADER + b"\xff\xff", 12, keep=False).result == -1


def test_noise_neither_hangs_nor_crashes(plane: DataPlane) -> None:
    random = Random(4)
    for _ in range(2000):
        noise = random.randbytes(random.randrange(13, 512))
        read = plane.read_name(noise, 12, keep=random.random() < 0.5)
        assert read.result in (0, -1)
        if read.result == 0:
            assert 12 < read.end <= len(noise)
