# SPDX-License-Identifier: MIT
"""Records that say what no program of ours writes. Those that it writes: tests/vm/scenario.py."""

from __future__ import annotations

import ctypes

import pytest

from leakstop.bpf import records
from leakstop.bpf.records import Kind
from leakstop.model.event import Connect, Exec
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import build
from leakstop.sensor.decode import Decoder


def decode(record: ctypes.Structure, size: int | None = None) -> object:
    """The event of the first ``size`` bytes of ``record``."""
    decoder = Decoder(build([]), Masker(()))
    return decoder.decode(ctypes.addressof(record), size or ctypes.sizeof(record))


def test_a_record_is_not_read_beyond_its_end() -> None:
    record = records.EventConnect(head=records.EventHead(kind=Kind.CONNECT, pid=7), port=443)
    event = decode(record, records.EventConnect.port.offset)
    assert isinstance(event, Connect) and (event.pid, event.port) == (7, 0)


def test_a_command_line_is_not_longer_than_its_copy() -> None:
    record = records.EventExec(head=records.EventHead(kind=Kind.EXEC), exe=b"/bin/x")
    record.argv_bytes = record.argv_copied = 1 << 30
    event = decode(record)
    assert isinstance(event, Exec) and sum(map(len, event.argv)) <= records.ARGV_COPY


@pytest.mark.parametrize(
    ("field", "number"), [("via", 200), ("hit_count", 1), ("judged", records.Judgement(reason=99))]
)
def test_a_number_without_a_meaning_is_an_error(field: str, number: object) -> None:
    record = records.EventConnect(head=records.EventHead(kind=Kind.CONNECT), **{field: number})
    with pytest.raises(ValueError, match="strange number"):
        decode(record)


def test_a_record_of_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown kind 99"):
        decode(records.EventExit(head=records.EventHead(kind=99)))


@pytest.mark.parametrize(
    ("called", "path", "unlinked", "exe", "program"),
    [
        (b"./s", b"bash/bin/usr/", 0, "/usr/bin/bash", "/usr/bin/bash"),
        (b"/opt/s", b"bash/bin/usr/", 0, "/opt/s", "/usr/bin/bash"),
        (b"/proc/self/fd/3", b"memfd:x/", 1, "/memfd:x (deleted)", "/memfd:x"),
        (b"/tmp/x", b"x/tmp/", 1, "/tmp/x (deleted)", "/tmp/x"),
        (b"/too/long", b"", 0, "/too/long", ""),
    ],
)
def test_the_file_that_is_run_and_what_it_was_called(
    called: bytes, path: bytes, unlinked: int, exe: str, program: str
) -> None:
    head = records.EventHead(kind=Kind.EXEC)
    event = decode(records.EventExec(head=head, exe=called, program=path, unlinked=unlinked))
    assert isinstance(event, Exec)
    assert (event.exe, event.program, event.unlinked) == (exe, program, bool(unlinked))
