# SPDX-License-Identifier: MIT
"""Answers of the kernel with lengths that lie."""

from __future__ import annotations

import socket
from random import Random

import pytest

from fuzz.mutate import bend, fuzz
from leakstop.bpf import sockdiag
from leakstop.model.flow import Transport
from leakstop.sensor import links
from unit.sensor.test_links import NEWLINK, attribute, body, message

LINKS = [
    message(NEWLINK, body(7, attribute(3, b"veth0\0"), attribute(10, b"\3\0\0\0"))) * 2,
    message(NEWLINK, body(1, attribute(0x8012, attribute(1, b"bridge\0")))) + message(3, b""),
]
NUMBERS = [number.to_bytes(2, "little") for number in (0, 1, 3, 15, 0x7FFF, 0xFFFF)]
NUMBERS += [b"\xff" * 4, b"\xff" * 16, bytes(4), bytes(16)]


class Kernel:
    """A netlink socket whose other end is ours."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def settimeout(self, seconds: float) -> None:
        """It answers at once."""

    def send(self, data: bytes) -> None:
        """Whatever is asked."""

    def recv(self, size: int) -> bytes:
        """The next answer; then none comes."""
        if not self.answers:
            raise TimeoutError
        return self.answers.pop(0)[:size]

    def close(self) -> None:
        """Nothing is open."""


def test_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(random: Random) -> None:
        answers = [bend(random, LINKS, NUMBERS) for _ in range(2)]
        monkeypatch.setattr(socket, "socket", lambda *_: Kernel(*answers))
        for found in links.read_interfaces():
            assert isinstance(found.name, str)

    fuzz("links", 4_000, take)


def test_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = ("192.0.2.1", 40000), ("198.51.100.1", 443)
    answer = sockdiag._HEADER.pack(108, 20, 0, 1, 0) + bytes(range(72))

    def take(random: Random) -> None:
        answers = [bend(random, [answer, answer * 2], NUMBERS), answer]
        monkeypatch.setattr(socket, "socket", lambda *_: Kernel(*answers))
        kernel = sockdiag.SockDiag()
        assert kernel.inode(Transport.TCP, here, there) >= 0
        kernel = sockdiag.SockDiag()
        assert kernel.destroy({1, 2, 3}) <= {1, 2, 3}
        assert isinstance(sockdiag.SockDiag().refusal(), str)

    fuzz("sockets", 2_000, take)
