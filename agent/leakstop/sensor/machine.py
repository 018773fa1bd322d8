# SPDX-License-Identifier: MIT
"""What this machine offers a sensor, read from /proc and /sys, without loading anything.

Facts only suggest an answer: a kernel can be new enough and still refuse. Whoever needs to
know whether the kernel sensor works loads it: feature probes report helpers that programs
then cannot use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leakstop.bpf.libbpf import find_libbpf
from leakstop.bpf.mounts import mount_of

KERNEL_FLOOR = (6, 1)
"""The oldest kernel on which the programs are tested: bpf_loop came with 5.17,
bpf_set_retval in cgroup hooks with 5.18, and 6.1 is the first long-term kernel after them."""

# Bits of /proc/PID/status, linux/capability.h.
_CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
_BPF_RIGHTS = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"})
_CONTAINER_CGROUP = re.compile(r"/(?:docker|lxc|kubepods|libpod|containerd|garden)[/.-]|/libpod-")
_CONTAINER_FILES = (("docker", ".dockerenv"), ("podman", "run/.containerenv"))


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about the machine."""

    kernel: str
    """Release, e.g. ``6.8.0-1064-azure``."""
    btf: bool
    """The kernel describes its own types."""
    cgroup2: Path | None
    """Where cgroup v2 is mounted."""
    libbpf: Path | None
    """libbpf 1.x."""
    bpffs: Path | None
    """A BPF file system, where programs can outlive the agent."""
    systemd: bool
    container: str
    """What seems to contain us, e.g. ``docker``; empty outside. A hint: some virtual machines
    are made from container images and carry their marks."""
    capabilities: frozenset[str]
    """Those of the ones we may need that are effective."""
    uid: int

    @classmethod
    def probe(cls, root: Path = Path("/")) -> Machine:
        """Look at the machine whose file system is at ``root``."""
        mountinfo = _text(root / "proc/self/mountinfo")
        return cls(
            kernel=_text(root / "proc/sys/kernel/osrelease").strip(),
            btf=(root / "sys/kernel/btf/vmlinux").exists(),
            cgroup2=cgroup2_mount(mountinfo),
            libbpf=find_libbpf(root),
            bpffs=mount_of("bpf", mountinfo),
            systemd=(root / "run/systemd/system").is_dir(),
            container=_container(root),
            capabilities=capabilities(_text(root / "proc/self/status")),
            uid=os.geteuid(),
        )

    def missing(self) -> tuple[str, ...]:
        """What the kernel sensor lacks, in whole sentences; empty when it should work."""
        return tuple(self._missing())

    def _missing(self) -> Iterator[str]:
        if kernel_version(self.kernel) < KERNEL_FLOOR:
            floor = ".".join(map(str, KERNEL_FLOOR))
            yield f"The kernel is {self.kernel or 'unknown'}; it takes {floor} or newer."
        if not self.btf:
            yield "The kernel has no BTF (/sys/kernel/btf/vmlinux), so programs cannot adapt to it."
        if self.cgroup2 is None:
            yield "No cgroup v2 is mounted, and that is what the guard is attached to."
        if self.libbpf is None:
            yield "The library libbpf 1.x is not installed; the package is called libbpf1."
        if "CAP_SYS_ADMIN" not in self.capabilities and not self.capabilities >= _BPF_RIGHTS:
            yield "BPF programs may not be loaded here: that takes root with all capabilities."


def cgroup2_mount(mountinfo: str) -> Path | None:
    """Where cgroup v2 is mounted, from the text of ``/proc/self/mountinfo``."""
    return mount_of("cgroup2", mountinfo)


def capabilities(status: str) -> frozenset[str]:
    """Effective capabilities among those that matter here, from ``/proc/self/status``."""
    effective = 0
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    return frozenset(name for name, bit in _CAPABILITIES.items() if effective >> bit & 1)


def kernel_version(release: str) -> tuple[int, int]:
    """``6.8.0-1064-azure`` → ``(6, 8)``; ``(0, 0)`` if it is not understood."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _container(root: Path) -> str:
    for name, file in _CONTAINER_FILES:
        if (root / file).exists():
            return name
    return "a container" if _CONTAINER_CGROUP.search(_text(root / "proc/1/cgroup")) else ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


__all__ = [
    "KERNEL_FLOOR",
    "Machine",
    "capabilities",
    "cgroup2_mount",
    "kernel_version",
]
