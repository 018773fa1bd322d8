# SPDX-License-Identifier: MIT
"""Facts about a machine, from file systems made for the purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leakstop.sensor import machine
from leakstop.sensor.machine import Machine, cgroup2_mount

UNIFIED = """\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw
30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
31 24 0:27 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:11 - bpf bpf rw,mode=700
"""
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
LEGACY = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
"""
# In a container: part of the hierarchy first, the whole of it mounted by hand later.
PART_AND_WHOLE = """\
900 1 0:26 /../../system.slice/x /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
901 1 0:26 / /mnt/all\\040of\\040it rw - cgroup2 cgroup rw
"""
PART = "900 1 0:26 /docker/0123 /sys/fs/cgroup ro,nosuid master:4 - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        (UNIFIED, "/sys/fs/cgroup"),
        (HYBRID, "/sys/fs/cgroup/unified"),
        (PART_AND_WHOLE, "/mnt/all of it"),
        (PART, "/sys/fs/cgroup"),
        (LEGACY, None),
        ("", None),
        ("not a mountinfo - cgroup2", None),
        # The words stand in the source and the options too; only the type counts.
        ("22 1 0:1 / /x rw - tmpfs cgroup2 rw,cgroup2\n", None),
    ],
)
def test_cgroup2_mount(mountinfo, expected):
    assert cgroup2_mount(mountinfo) == (None if expected is None else Path(expected))


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.8.0-1064-azure", (6, 8)),
        ("6.18.44", (6, 18)),
        ("5.15-rc1", (5, 15)),
        ("unknown", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_kernel_version(release, expected):
    assert machine.kernel_version(release) == expected


def test_capabilities_are_the_effective_ones():
    status = "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t0000008000002000\n"
    assert machine.capabilities(status) == {"CAP_BPF", "CAP_NET_RAW"}
    assert machine.capabilities("") == frozenset()


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A file system as on a hosted runner."""
    files = {
        "proc/self/mountinfo": UNIFIED,
        "proc/self/status": "CapEff:\t000001ffffffffff\n",
        "proc/sys/kernel/osrelease": "6.17.0-1022-azure\n",
        "proc/1/cgroup": "0::/init.scope\n",
        "sys/kernel/btf/vmlinux": "",
        "usr/lib/x86_64-linux-gnu/libbpf.so.1": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    return tmp_path


def test_a_hosted_runner_lacks_nothing(runner):
    found = Machine.probe(runner)
    assert found.missing() == ()
    assert (found.kernel, found.systemd, found.container) == ("6.17.0-1022-azure", True, "")
    assert found.bpffs == Path("/sys/fs/bpf")
    assert found.libbpf == runner / "usr/lib/x86_64-linux-gnu/libbpf.so.1"


def test_an_empty_machine_lacks_everything_and_says_so_in_sentences(tmp_path):
    missing = Machine.probe(tmp_path).missing()
    assert len(missing) == 5
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in missing)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kernel": "5.15.0"}, "5.15.0"),
        ({"btf": False}, "BTF"),
        ({"cgroup2": None}, "cgroup v2"),
        ({"libbpf": None}, "libbpf1"),
        ({"capabilities": frozenset({"CAP_BPF", "CAP_NET_ADMIN"})}, "root"),
    ],
)
def test_each_lack_is_named_alone(runner, change, word):
    missing = replace(Machine.probe(runner), **change).missing()
    assert len(missing) == 1
    assert word in missing[0]


def test_the_three_capabilities_do_without_sys_admin(runner):
    rights = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"})
    assert replace(Machine.probe(runner), capabilities=rights).missing() == ()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("proc/1/cgroup", "0::/kubepods/burstable/pod1/abc\n", "a container"),
        ("proc/1/cgroup", "1:name=systemd:/docker/0123\n", "a container"),
    ],
)
def test_signs_of_a_container(runner, file, text, expected):
    (runner / file).parent.mkdir(parents=True, exist_ok=True)
    (runner / file).write_text(text)
    assert Machine.probe(runner).container == expected
