# SPDX-License-Identifier: MIT
"""To whom the processes from before the guard belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakstop.model.process import Tag
from leakstop.sensor.seeds import tags_of

TRACKED = b"HOME=/home/runner\0RUNNER_TRACKING_ID=github_1\0"
# pid: (parent, environment, program)
MACHINE = {
    1: (0, b"", "/usr/lib/systemd/systemd"),
    50: (1, b"HOME=/root\0", "/usr/sbin/sshd"),
    60: (1, b"", "/usr/bin/dockerd"),
    70: (1, b"", "/usr/bin/containerd-shim-runc-v2"),
    71: (70, b"", "/usr/bin/postgres"),
    100: (1, b"HOME=/home/runner\0", "/opt/runner/Runner.Listener"),
    200: (100, b"HOME=/home/runner\0", "/opt/runner/Runner.Worker"),
    300: (200, TRACKED, "/usr/bin/bash"),  # a step
    301: (300, TRACKED, "/usr/bin/make"),
    302: (301, b"", "/usr/bin/cc"),  # without its environment it is still below the worker
    400: (1, TRACKED, "/usr/bin/node"),  # left behind by a step, by a double fork
    401: (1, b"NOT_RUNNER_TRACKING_ID=1\0", "/usr/bin/node"),
}
JOBS = {300, 301, 302, 400}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for pid, (parent, environ, exe) in MACHINE.items():
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a) b) S {parent} " + "0 " * 20)
        (folder / "environ").write_bytes(environ)
        (folder / "exe").symlink_to(exe)
    return tmp_path


def those(proc: Path, worker_pid: int, tag: Tag) -> set[int]:
    return {pid for pid, found in tags_of(worker_pid, proc).items() if found is tag}


def test_the_worker_and_what_is_above_it_is_the_runner_but_not_what_starts_all(proc: Path) -> None:
    assert those(proc, 200, Tag.RUNNER) == {100, 200}


def test_what_is_below_the_worker_or_was_left_behind_is_the_jobs(proc: Path) -> None:
    assert those(proc, 200, Tag.JOB) == JOBS


def test_engines_and_what_they_have_started(proc: Path) -> None:
    assert those(proc, 200, Tag.ENGINE) == those(proc, 0, Tag.ENGINE) == {60, 70, 71}


def test_the_rest_is_the_machines(proc: Path) -> None:
    assert those(proc, 200, Tag.MACHINE) == {1, 50, 401}
    assert those(proc, 0, Tag.MACHINE) == {1, 50, 401, 100, 200} | JOBS


def test_a_worker_that_is_gone(proc: Path) -> None:
    assert those(proc, 999, Tag.JOB) == {300, 301, 400}
    assert those(proc, 999, Tag.RUNNER) == set()


def test_parents_that_lead_in_a_circle(proc: Path) -> None:
    """Pids can be reused while they are being read."""
    for pid, parent in ((300, 301), (301, 300)):
        (proc / str(pid) / "stat").write_text(f"{pid} (a) S {parent} " + "0 " * 20)
    assert those(proc, 200, Tag.JOB) == {300, 301, 400}
