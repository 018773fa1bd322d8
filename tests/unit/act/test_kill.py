# SPDX-License-Identifier: MIT
"""A kill hits the process that was seen and spares whoever has its number now."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from leakstop.act.kill import Outcome, kill, start_ticks

NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def start_ns(process: subprocess.Popen[bytes]) -> int:
    ticks = start_ticks(process.pid)
    assert ticks is not None
    return ticks * NS_PER_TICK


@pytest.mark.parametrize("within_tick", [0, NS_PER_TICK - 1])
def test_the_process_that_was_seen_is_killed(
    victim: subprocess.Popen[bytes], within_tick: int
) -> None:
    assert kill(victim.pid, start_ns(victim) + within_tick) is Outcome.KILLED
    assert victim.wait(5) == -9


@pytest.mark.parametrize("off", [-1, NS_PER_TICK])
def test_a_process_with_its_number_is_spared(victim: subprocess.Popen[bytes], off: int) -> None:
    assert kill(victim.pid, start_ns(victim) + off) is Outcome.GONE
    assert victim.poll() is None


def test_without_a_start_time_the_number_has_to_do(victim: subprocess.Popen[bytes]) -> None:
    assert kill(victim.pid) is Outcome.KILLED


def test_a_process_that_ended_is_gone() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert kill(ended.pid, 1) is Outcome.GONE
    assert start_ticks(ended.pid) is None


@pytest.mark.parametrize("pid", [0, -1])
def test_no_number_stands_for_a_group(pid: int) -> None:
    assert kill(pid) is Outcome.GONE


@pytest.mark.root
def test_what_the_kernel_refuses_is_said() -> None:
    """As another user, in a child: pid 1 is not ours to kill."""
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        os._exit(0 if kill(1) is Outcome.REFUSED else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_name_with_parentheses_does_not_shift_the_fields(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    program = tmp_path_factory.mktemp("kill") / "a) S (1"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    try:
        assert kill(process.pid, start_ns(process)) is Outcome.KILLED
    finally:
        process.kill()
        process.wait()
