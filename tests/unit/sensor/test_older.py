# SPDX-License-Identifier: MIT
"""Which of the processes from before the guard are the job's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakstop.sensor.older import suspects

TRACKED = b"HOME=/home/runner\0RUNNER_TRACKING_ID=github_1\0"
# pid: (parent, environment)
MACHINE = {
    1: (0, b""),
    50: (1, b"HOME=/root\0"),  # sshd
    100: (1, b"HOME=/home/runner\0"),  # the runner
    200: (100, b"HOME=/home/runner\0"),  # its worker
    300: (200, TRACKED),  # a step
    301: (300, TRACKED),
    302: (301, b""),  # without its environment it is still below the worker
    400: (1, TRACKED),  # left behind by a step, by a double fork
    401: (1, b"NOT_RUNNER_TRACKING_ID=1\0"),
}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid, (parent, environ) in MACHINE.items():
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a) b) S {parent} " + "0 " * 20)
        (folder / "environ").write_bytes(environ)
    return tmp_path


def test_what_is_below_the_worker_or_was_left_behind(proc: Path) -> None:
    assert suspects(200, proc) == {300, 301, 302, 400}


def test_a_worker_that_is_gone(proc: Path) -> None:
    assert suspects(999, proc) == {300, 301, 400}


def test_parents_that_lead_in_a_circle(proc: Path) -> None:
    """Pids can be reused while they are being read."""
    for pid, parent in ((300, 301), (301, 300)):
        (proc / str(pid) / "stat").write_text(f"{pid} (a) S {parent} " + "0 " * 20)
    assert suspects(200, proc) == {300, 301, 400}
