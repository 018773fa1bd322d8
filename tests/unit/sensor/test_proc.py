# SPDX-License-Identifier: MIT
"""The reader of /proc: real processes of this test, and texts that no process would show."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from leakstop.sensor import proc


@pytest.fixture
def child():
    """A process that waits, with odd arguments and an odd environment."""
    program = [sys.executable, "-c", "input()", "", b"\xff\xfe", "two\nlines"]
    environ = {b"GITHUB_ACTION": b"__run_2", b"RAW": b"\xff=", b"EMPTY": b""}
    with subprocess.Popen(program, env=environ, stdin=subprocess.PIPE) as process:
        while len(proc.cmdline(process.pid) or ()) != 6:  # until it has become the program
            time.sleep(0.001)
        yield process.pid
        process.kill()


def test_a_process_as_it_is(child):
    found = proc.read(child)
    assert found is not None
    assert (found.pid, found.ppid, found.uid) == (child, os.getpid(), os.geteuid())
    assert found.argv[3:] == (b"", b"\xff\xfe", b"two\nlines")
    assert os.path.samefile(found.exe, sys.executable)


def test_start_time_is_on_the_boot_clock(child):
    found = proc.read(child)
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert found is not None
    assert now_ns - 30_000_000_000 < found.start_ns <= now_ns
    assert found.start_ns % proc.TICK_NS == 0


def test_environment_values(child):
    block = proc.environ(child)
    assert proc.environ_value(block, "GITHUB_ACTION") == "__run_2"
    assert proc.environ_value(block, "RAW") == "\\xff="
    assert proc.environ_value(block, "EMPTY") == ""
    assert proc.environ_value(block, "GITHUB") is None


def test_it_is_listed(child):
    assert child in set(proc.pids())


def test_sockets_of_a_process():
    with socket.socket() as mine:
        assert os.fstat(mine.fileno()).st_ino in proc.sockets(os.getpid())
        inode = os.fstat(mine.fileno()).st_ino
    assert inode not in proc.sockets(os.getpid())


def test_a_process_that_is_gone_is_none():
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert proc.read(ended.pid) is None
    assert proc.stat(ended.pid) is None
    assert proc.cmdline(ended.pid) is None
    assert proc.exe(ended.pid) == ""
    assert proc.environ(ended.pid) == b""
    assert proc.sockets(ended.pid) == frozenset()


def test_a_zombie_has_no_arguments():
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert proc.cmdline(process.pid) == ()


def test_a_pid_that_was_given_away_while_it_was_read_is_none(tmp_path):
    """The second look at ``stat`` finds another start time."""
    stats = iter([b"7 (a) S 1" + b" 0" * 17 + b" 100", b"7 (b) S 1" + b" 0" * 17 + b" 200"])
    directory = tmp_path / "7"
    directory.mkdir()
    (directory / "stat").write_bytes(next(stats))

    class Swapping(type(tmp_path)):  # type: ignore[misc]
        def open(self, *args, **options):
            if self.name == "cmdline":
                (directory / "stat").write_bytes(next(stats))
            return super().open(*args, **options)

    (directory / "cmdline").write_bytes(b"a\0")
    assert proc.read(7, Swapping(tmp_path)) is None


@pytest.mark.parametrize("name", [b"(", b") S 99 (", b"a) R 1 1 1", b"\xff\n"])
def test_the_name_in_stat_cannot_mislead(name):
    raw = b"7 (" + name + b") S 42" + b" 0" * 17 + b" 300 0 0\n"
    assert proc.parse_stat(raw) == (42, 300 * proc.TICK_NS)


@pytest.mark.parametrize("raw", [b"", b"7 (x)", b"7 (x) S 1 2 3"])
def test_half_a_stat_is_none(raw):
    assert proc.parse_stat(raw) is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", ()),
        (b"a\0", (b"a",)),
        (b"a\0\0", (b"a", b"")),
        (b"\0", (b"",)),
        (b"a\0b", (b"a", b"b")),
    ],
)
def test_split_nul(raw, expected):
    assert proc.split_nul(raw) == expected


def test_start_times_of_both_kinds_compare():
    precise = 1_234_567_890_123
    assert proc.same_start(precise, precise // proc.TICK_NS * proc.TICK_NS)
    assert not proc.same_start(precise, precise + proc.TICK_NS)


def test_ancestors_lead_to_the_first_process() -> None:
    above = list(proc.ancestors(os.getpid()))
    assert above[:2] == [os.getpid(), os.getppid()]
    last = proc.stat(above[-1])
    assert last is not None and last[0] == 0
    assert list(proc.ancestors(0)) == []


HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        (f"/docker/{HEX}", True),
        (f"/system.slice/docker-{HEX}.scope", True),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{HEX}.scope", True),
        (f"/docker/{HEX}/system.slice", False),
        (f"/docker/{HEX[:-1]}", False),
        ("/user.slice", False),
    ],
)
def test_the_container_of_a_process(tmp_path, path, inside):
    for pid, group in (("7", path), ("self", "/user.slice")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(f"2:cpu:{group}\n0::{group}\n")
    assert proc.container(7, tmp_path) == (int(HEX[:16], 16) if inside else 0)
    assert proc.container(8, tmp_path) == 0


def test_the_container_of_this_process_is_none(tmp_path):
    for pid in ("7", "self"):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(f"0::/docker/{HEX}\n")
    assert proc.container(7, tmp_path) == 0
