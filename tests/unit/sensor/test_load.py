# SPDX-License-Identifier: MIT
"""What is loaded upon the data plane, with objects that only say what the kernel would."""

from __future__ import annotations

import pytest

from leakstop.bpf.libbpf import BpfError
from leakstop.sensor import load


class Section:
    """The constants, or a section of them."""

    name, fd, value_size = ".rodata", 3, 4096

    def lookup(self, key: bytes, size: int) -> bytes:
        return bytes(size)

    def preset(self, data: bytes) -> None:
        pass


class Denials:
    """An object that this kernel takes, and attaches or not."""

    def __init__(self, refusal: str = "") -> None:
        self.refusal = refusal
        self.done: list[str] = []

    def __call__(self, *_: object) -> Denials:
        return self

    def map(self, _: str) -> Section:
        return Section()

    def maps(self) -> list[Section]:
        return [Section()]

    def programs(self) -> list[str]:
        return ["deny_open", "deny_kill"]

    def load(self) -> None:
        self.done.append("load")

    def attach(self, program: str) -> Denials:
        if self.refusal:
            raise BpfError(self.refusal)
        self.done.append(program)
        return self

    def close(self) -> None:
        self.done.append("close")


def test_what_cannot_be_attached_does_not_count_as_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """aarch64 before 6.4: the tripwires have to be laid in the place of what denies."""
    denials = Denials("Unknown error 524")
    monkeypatch.setattr(load, "Object", denials)
    with pytest.raises(BpfError, match="524"):
        load.load_denials(Denials())  # type: ignore[arg-type]
    assert denials.done == ["load", "close"]


def test_a_trial_leaves_nothing_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    denials = Denials()
    monkeypatch.setattr(load, "Object", denials)
    assert load.load_denials(Denials()) is denials  # type: ignore[comparison-overlap, arg-type]
    assert denials.done == ["load", "deny_open", "close"]
