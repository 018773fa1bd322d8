# SPDX-License-Identifier: MIT
"""Finding cgroup v2, and a child of it for one command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakstop.act.cgroup import CommandCgroup, cgroup2_mount, is_frozen, own_cgroup
from leakstop.errors import ExitCode, UnsupportedError

UNIFIED = "31 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 none rw\n"
)
V1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
ODD = r"50 1 0:38 / /mnt/a\040b\134c rw - cgroup2 none rw" + "\n"
SIGN = "51 1 0:38 /a\x0bb\x1ec\u2028d /mnt/e\x0bf rw - cgroup2 none rw\n"
PART = "60 1 0:38 /user.slice /part rw - cgroup2 none rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "mount"),
    [
        (UNIFIED, "/sys/fs/cgroup"),
        (HYBRID, "/sys/fs/cgroup/unified"),
        (ODD, "/mnt/a b\\c"),
        (SIGN, "/mnt/e\x0bf"),
        (PART + UNIFIED, "/sys/fs/cgroup"),
        (PART, "/part"),
        (PART + V1, "/part"),
    ],
)
def test_the_mount_is_found_wherever_it_is(mountinfo: str, mount: str) -> None:
    assert cgroup2_mount(mountinfo) == Path(mount)


@pytest.mark.parametrize("mountinfo", ["", V1, "nonsense\n", "1 2 3 - cgroup2\n"])
def test_without_cgroup_v2_this_is_said(mountinfo: str) -> None:
    with pytest.raises(UnsupportedError, match="no cgroup v2") as caught:
        cgroup2_mount(mountinfo)
    assert caught.value.exit_code is ExitCode.UNSUPPORTED
    assert "mount -t cgroup2" in caught.value.fix


@pytest.mark.parametrize(
    ("proc_cgroup", "below"),
    [
        ("0::/\n", "."),
        ("9:name=systemd:/x\n0::/a/b\n", "a/b"),
        ("0::/gone\n", "."),
        ("0::/../outside\n", "."),
        ("9:cpu:/a/b\n", "."),
        ("0::/a:b\n", "a:b"),
        ("9:cpu:/a::b\n0::/a\x0bb\n", "a\x0bb"),
    ],
)
def test_our_own_cgroup(tmp_path: Path, proc_cgroup: str, below: str) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a\x0bb").mkdir()
    assert own_cgroup(tmp_path, proc_cgroup) == tmp_path / below


def test_a_hierarchy_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no cgroup could be made"):
        CommandCgroup.create(tmp_path / "not there", "x")


@pytest.fixture
def cgroup() -> Iterator[CommandCgroup]:
    made = CommandCgroup.create(own_cgroup(cgroup2_mount()), "leakstop-test-act")
    yield made
    made.kill()
    made.remove()


@pytest.mark.root
def test_children_are_born_inside_and_killed_together(cgroup: CommandCgroup) -> None:
    script = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script], preexec_fn=cgroup.enter)
    while len(cgroup.pids()) < 2:
        assert parent.poll() is None
    assert parent.pid in cgroup.pids()
    assert cgroup.kill() == 2
    assert parent.wait(5) == -9
    assert cgroup.remove()
    assert not cgroup.path.exists()
    assert cgroup.pids() == ()


@pytest.mark.root
def test_what_is_still_in_use_is_not_removed(cgroup: CommandCgroup) -> None:
    inside = subprocess.Popen(["sleep", "60"], preexec_fn=cgroup.enter)
    assert not cgroup.remove(patience_s=0.02)
    (cgroup.path / "below").mkdir()
    assert inside.pid in cgroup.pids()
    cgroup.kill()
    inside.wait(5)
    assert cgroup.remove()


@pytest.mark.root
def test_an_empty_cgroup_has_nothing_to_kill(cgroup: CommandCgroup) -> None:
    assert cgroup.kill() == 0


@pytest.mark.root
def test_a_cgroup_may_be_called_anything(cgroup: CommandCgroup) -> None:
    odd = CommandCgroup(Path(os.fsdecode(os.fsencode(cgroup.path) + b"/\xff")))
    odd.path.mkdir()
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            (odd.path / "cgroup.procs").write_text(str(process.pid))
            assert not is_frozen(process.pid)
            (odd.path / "cgroup.freeze").write_text("1")
            deadline = time.monotonic() + 5
            while not is_frozen(process.pid):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
    assert odd.remove()
