# SPDX-License-Identifier: MIT
"""Pieces of a stream, put together."""

from __future__ import annotations

from leakstop.model.channel import Channel, Library
from leakstop.sensor import assembly


def test_overlapping_pieces() -> None:
    held = assembly.Assembly()
    source = assembly.Source(1, 2, Channel.TCP, Library.NONE)
    for offset, data in ((0, b"abc"), (3, b"def"), (4, b"efgh"), (5, b"fg"), (20, b"xyz")):
        sent = held.add(source, offset, data, 0, 0.0)
    assert [bytes(run) for run in sent.runs] == [b"abcdefgh", b"xyz"]
    assert sent.size == 11
