# SPDX-License-Identifier: MIT
"""All threads of a process are entered, under the kind that it has."""

from __future__ import annotations

from pathlib import Path

from leakstop.bpf.values import Protected
from leakstop.sensor.protected import protect, protect_runner


class Table(dict[bytes, bytes]):
    """Stands for the kernel's map."""

    def update(self, key: bytes, value: bytes) -> None:  # type: ignore[override]
        self[key] = value


def test_every_thread_is_entered(tmp_path: Path) -> None:
    for thread in (70, 71):
        (tmp_path / "70" / "task" / str(thread)).mkdir(parents=True)
    table = Table()
    protect(table, 70, Protected.WORKER, tmp_path)
    assert table == {pid.to_bytes(4, "little"): b"\2" for pid in (70, 71)}


def test_a_process_that_is_gone_has_none(tmp_path: Path) -> None:
    table = Table()
    protect(table, 70, Protected.AGENT, tmp_path)
    assert table == {}


def test_what_is_above_the_worker_is_the_runners_but_for_init(tmp_path: Path) -> None:
    for pid, parent in ((1, 0), (20, 1), (30, 20), (40, 1)):
        (tmp_path / str(pid) / "task" / str(pid)).mkdir(parents=True)
        fields = f"{pid} (name) S {parent} " + "0 " * 48
        (tmp_path / str(pid) / "stat").write_text(fields)
    table = Table()
    protect_runner(table, 30, tmp_path)
    assert table == {bytes((30, 0, 0, 0)): b"\2", bytes((20, 0, 0, 0)): b"\3"}
    table.clear()
    protect_runner(table, 0, tmp_path)
    assert table == {}
