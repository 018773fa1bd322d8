# SPDX-License-Identifier: MIT
"""Where sockets are looked for, and in which order. Real ones are ended in the lab."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

import pytest

from leakstop.act import cut as cutter
from leakstop.act.cut import cut


class Namespaces:
    """A machine whose processes are in namespaces that hold sockets."""

    def __init__(self, sockets: dict[int, set[int]]) -> None:
        self.sockets = sockets
        """By namespace."""
        self.visited: list[int] = []

    def enter(self, descriptor: int) -> None:
        namespace = os.fstat(descriptor).st_ino
        self.visited.append(namespace)
        if namespace not in self.sockets:
            raise PermissionError

    def destroy(self, cookies: Collection[int]) -> frozenset[int]:
        return frozenset(cookies) & self.sockets[self.visited[-1]]

    def close(self) -> None:
        """As a netlink socket has it."""


@pytest.fixture
def own() -> int:
    return os.stat("/proc/self/ns/net").st_ino


def machine(monkeypatch: pytest.MonkeyPatch, sockets: dict[int, set[int]]) -> Namespaces:
    made = Namespaces(sockets)
    monkeypatch.setattr(cutter, "_enter", made.enter)
    monkeypatch.setattr(cutter, "SockDiag", lambda: made)
    return made


def unwanted() -> Iterator[str]:
    """Nobody may have to read /proc."""
    pytest.fail("searched")
    yield ""


def test_the_namespace_of_the_process_is_enough(monkeypatch: pytest.MonkeyPatch, own: int) -> None:
    made = machine(monkeypatch, {own: {1, 2, 3}})
    monkeypatch.setattr(cutter, "_processes", unwanted)
    assert cut({1: os.getpid(), 3: os.getpid()}) == {1, 3}
    assert made.visited == [own]


def test_each_namespace_is_searched_once(monkeypatch: pytest.MonkeyPatch, own: int) -> None:
    """The process has ended, so everybody's are searched; that one is none of them."""
    made = machine(monkeypatch, {own: {1}})
    assert cut({1: 0, 2: 0}) == {1}
    assert own in made.visited
    assert len(made.visited) == len(set(made.visited))


def test_a_namespace_that_may_not_be_entered_is_left_out(
    monkeypatch: pytest.MonkeyPatch, own: int
) -> None:
    made = machine(monkeypatch, {})
    assert cut({1: os.getpid()}) == frozenset()
    assert own in made.visited


def test_there_is_an_end_to_searching(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(monkeypatch, {})
    monkeypatch.setattr(cutter, "_MOST_NAMESPACES", 0)
    assert cut({1: os.getpid()}) == frozenset()
    assert made.visited == []


def test_descriptors_are_closed(monkeypatch: pytest.MonkeyPatch, own: int) -> None:
    machine(monkeypatch, {own: {1}})
    before = os.listdir("/proc/self/fd")
    cut({1: os.getpid()})
    cut({9: 0})
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_nothing_to_cut_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutter, "_search", lambda sockets: pytest.fail("searched"))
    assert cut({}) == frozenset()
