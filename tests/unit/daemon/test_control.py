# SPDX-License-Identifier: MIT
"""The control protocol, and who may do what with it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from leakstop.daemon import control
from leakstop.daemon.control import Channel, error_from_json, error_to_json, may_command
from leakstop.errors import CoverageError, ExitCode, LeakstopError, PolicyError
from leakstop.policy.problem import PolicyErrors, Problem


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = (Channel(end) for end in socket.socketpair())
    ours.socket.settimeout(1)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_whole_however_they_are_cut(pair: tuple[Channel, Channel]) -> None:
    channel = pair[0]
    assert channel.take(b'{"a":') == []
    assert channel.take(b'1}\n{"b":2}\n{"c"') == [{"a": 1}, {"b": 2}]
    assert channel.take(b":3}\n") == [{"c": 3}]
    assert channel.take(b"") is None


@pytest.mark.parametrize("noise", [b"no JSON\n", b"[]\n", b"1\n", b"\xff\xfe\n"])
def test_what_is_no_object_is_an_error(pair: tuple[Channel, Channel], noise: bytes) -> None:
    with pytest.raises(ValueError):
        pair[0].take(noise)


def test_a_message_without_an_end_is_an_error(
    pair: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_LARGEST_MESSAGE", 100)
    with pytest.raises(ValueError, match="too long"):
        pair[0].take(b"{" * 101)


def test_an_answer_comes_back(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.send({"ok": True, "mode": "audit"})
    assert ours.ask("status") == {"ok": True, "mode": "audit"}
    assert theirs.receive() == {"ask": "status"}


def test_a_refusal_is_the_error_that_the_agent_met(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    met = PolicyError("too many conditions", why="257", fix="fewer", where="a.yml:3")
    theirs.send({"ok": False, "error": error_to_json(met)})
    with pytest.raises(LeakstopError) as caught:
        ours.ask("arm")
    assert caught.value.exit_code is ExitCode.POLICY
    assert str(caught.value) == str(met)
    assert caught.value.fix == "fewer"


def test_an_agent_that_is_gone_is_lost_coverage(pair: tuple[Channel, Channel]) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(CoverageError):
        ours.ask("finish")


def test_an_agent_that_keeps_silent_is_lost_coverage(pair: tuple[Channel, Channel]) -> None:
    pair[0].socket.settimeout(0.01)
    with pytest.raises(CoverageError):
        pair[0].ask("finish")


def test_a_text_of_several_problems_survives() -> None:
    problems = PolicyErrors([Problem("a.yml", 1, 1, "one"), Problem("a.yml", 2, 1, "two")])
    assert str(error_from_json(error_to_json(problems))) == str(problems)


def test_the_peer_is_who_the_kernel_says(pair: tuple[Channel, Channel]) -> None:
    assert control.peer_uid(pair[0].socket) == os.getuid()


@pytest.mark.parametrize(
    ("uid", "key", "expected", "allowed"),
    [
        (0, "", "", True),
        (0, "", "set", True),  # root can end everything anyway
        (1001, "", "", True),
        (1001, "set", "set", True),
        (1001, "", "set", False),
        (1001, "guess", "set", False),
        (1001, "é", "set", False),
        (1002, "", "", False),
        (1002, "set", "set", False),
    ],
)
def test_who_may_end_the_guard(uid: int, key: str, expected: str, allowed: bool) -> None:
    assert may_command(uid, 1001, key, expected) is allowed


def test_nesting_without_end_is_an_error_of_the_peer(pair: tuple[Channel, Channel]) -> None:
    with pytest.raises(ValueError, match="nested"):
        pair[0].take(b"[" * 100_000 + b"\n")


def test_what_waits_is_not_searched_again(pair: tuple[Channel, Channel]) -> None:
    chunk = b"x" * 65_536
    message = b'{"a":"' + chunk * 512 + b'"}\n'  # 32 MiB
    began = time.process_time()
    taken = [
        found
        for at in range(0, len(message), len(chunk))
        for found in pair[0].take(message[at : at + len(chunk)]) or ()
    ]
    assert len(taken) == 1 and len(taken[0]["a"]) == 512 * len(chunk)
    assert time.process_time() - began < 2.0
