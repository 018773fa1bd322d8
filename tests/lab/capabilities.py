# SPDX-License-Identifier: MIT
"""What this machine offers to tests: one probe a marker, each says what is missing."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lab import cgroup
from lab.namespace import Namespace

# <asm/unistd.h> and <linux/bpf.h>
_NR_BPF = {"x86_64": 321, "aarch64": 280}
_BPF_MAP_CREATE, _BPF_MAP_TYPE_ARRAY = 0, 2


def missing_root() -> str:
    """Root that may make namespaces and load BPF, and cgroup v2."""
    if os.geteuid() != 0:
        return "not root"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "this kernel has no BTF"
    try:
        cgroup.current()
        Namespace().close()
        os.close(_small_map())
    except (LookupError, OSError) as error:
        return str(error)
    absent = [tool for tool in ("ip", "curl", "dig") if not shutil.which(tool)]
    return f"not installed: {', '.join(absent)}" if absent else ""


def missing_docker() -> str:
    """A Docker daemon that can be started, and what else makes containers."""
    if os.geteuid() != 0:
        return "not root"
    tools = ("dockerd", "docker", "docker-compose", "podman", "unshare")
    absent = [tool for tool in tools if not shutil.which(tool)]
    return f"not installed: {', '.join(absent)}" if absent else ""


def missing_act() -> str:
    """The local runner of workflows, and node."""
    beside = Path(sys.executable).parent / "act"
    if not beside.exists() and not shutil.which("act"):
        return "not installed: act"
    return "" if shutil.which("node") else "not installed: node"


def missing_index() -> str:
    """The package index that pip is configured for, whichever that is."""
    ask = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries=0"]
    try:
        done = subprocess.run(
            [*ask, "--timeout=5", "index", "versions", "six"], capture_output=True, timeout=30
        )
    except subprocess.TimeoutExpired:
        return "the configured package index does not answer"
    return "" if done.returncode == 0 else "the configured package index cannot be reached"


PROBES: dict[str, Callable[[], str]] = {
    "root": cache(missing_root),
    "docker": cache(missing_docker),
    "act": cache(missing_act),
    "index": cache(missing_index),
}
"""By marker. Each returns what is missing, empty when nothing is."""


def _small_map() -> int:
    """Make the smallest BPF map there is.

    Raises:
        OSError: BPF is not allowed here.
    """
    number = _NR_BPF.get(platform.machine())
    if number is None:
        raise OSError(f"no BPF on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_uint32 * 18)(_BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    made: int = libc.syscall(number, _BPF_MAP_CREATE, attributes, ctypes.sizeof(attributes))
    if made < 0:
        raise OSError(ctypes.get_errno(), f"bpf: {os.strerror(ctypes.get_errno())}")
    return made
