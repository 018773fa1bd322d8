# SPDX-License-Identifier: MIT
"""All threads of a process are entered, under the kind that it has."""

from __future__ import annotations

from pathlib import Path

from leakstop.bpf.values import Protected
from leakstop.sensor.protected import protect


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
