# SPDX-License-Identifier: MIT
"""The journal: whole lines or none, and a full disk that costs nothing but lines."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakstop.daemon.journal import Journal, read
from story import connects, execs, fork, started


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_what_is_written_is_read_back(path: Path) -> None:
    events = [
        started(),
        fork(10, 1),
        execs(10, "curl", "curl", "-d", "é\n\x1b"),
        connects(10, "::1"),
    ]
    journal = Journal.create(path)
    for event in events:
        journal.write(event)
    journal.close()
    assert list(read(lines(path))) == events
    assert journal.notes() == ()


def test_a_batch_reaches_the_file_when_it_is_flushed(path: Path) -> None:
    journal = Journal.create(path)
    journal.write(fork(10, 1))
    assert path.read_bytes() == b""
    journal.flush()
    assert len(lines(path)) == 1
    journal.close()


def test_a_journal_begins_anew_and_never_through_a_link(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    path.symlink_to(other)
    with pytest.raises(OSError):
        Journal.create(path)
    assert other.read_text() == "precious"


def test_a_full_disk_is_counted_and_said() -> None:
    journal = Journal(os.open("/dev/full", os.O_WRONLY))
    for pid in (10, 11):
        journal.write(fork(pid, 1))
    journal.flush()
    journal.close()
    assert journal.lost == 2
    (note,) = journal.notes()
    assert "No space left on device" in note
    assert "2 events" in note


@pytest.fixture
def tight_disk() -> Iterator[int]:
    """Files may grow to 400 bytes: what does not fit is written in part, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    yield 400
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_line_is_left_in_parts(path: Path, tight_disk: int) -> None:
    journal = Journal.create(path)
    for pid in range(10, 30):
        journal.write(fork(pid, 1))
        journal.flush()
    journal.close()
    kept = list(read(lines(path)))
    assert 0 < len(kept) < 20
    assert path.stat().st_size <= tight_disk
    assert path.read_bytes().endswith(b"\n")
    assert journal.lost == 20 - len(kept)


def test_after_a_full_disk_the_journal_goes_on(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal.create(path)
    journal.write(fork(10, 1))
    journal.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        journal.write(fork(11, 1))
        journal.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.write(fork(12, 1))
    journal.close()
    assert [event.pid for event in read(lines(path)) if hasattr(event, "pid")] == [10, 12]


@pytest.mark.parametrize(
    "foreign",
    [
        b'{"kind":"fork","ts_ns":1,"pid":10,"ppid":1,"sta',  # the agent died while it wrote
        b"\n",
        b"no JSON\n",
        b"[]\n",
        b"12\n",
        b'{"kind":"fork"}\n',
        b'{"kind":"fork","ts_ns":"1","pid":10,"ppid":1}\n',
        b'{"kind":"unheard-of"}\n',
        b'"\xff"\n',
    ],
)
def test_what_is_no_event_is_left_out(path: Path, foreign: bytes) -> None:
    journal = Journal.create(path)
    journal.write(fork(9, 1))
    journal.close()
    assert list(read([*lines(path), foreign])) == [fork(9, 1)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":' + b"[" * 100_000,
        b'{"kind":"exit","ts_ns":1,"pid":1,"code":' + b"9" * 400 + b"}",
        b'{"kind":"started","wall_s":' + b"9" * 400 + b"}",
    ],
    ids=["nested", "large", "no float"],
)
def test_a_line_from_a_foreign_hand_does_not_end_the_reading(line: bytes) -> None:
    whole = b'{"kind":"exit","ts_ns":1,"pid":1,"code":0}\n'
    assert len(list(read([line + b"\n", whole]))) == 1
