# SPDX-License-Identifier: MIT
"""All that a guard may leave on a machine, to compare before and after. ``-m`` prints it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from lab import cgroup

_BPF = ("prog", "map", "link")
_PATIENCE_S = 10
_FILES = (
    *("/etc/group", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d/*"),
    *("/etc/hosts", "/etc/resolv.conf"),
)
_SOCKET = Path("/run/docker.sock")
_LISTS = (
    ("systemctl", "list-units", "--all", "--plain", "--no-legend", "leakstop-*"),
    ("bpftool", "net", "show"),
    ("tc", "qdisc", "show"),
    ("ip", "-brief", "link"),
    ("ip", "route"),
    ("iptables-save",),
)


def traces() -> set[str]:
    """Mounts, cgroups, run directories, units, what BPF has loaded, rules and settings."""
    return set(_traces())


def left(before: set[str]) -> set[str]:
    """What is other than it was ``before``, once systemd has put away what has ended."""
    deadline = time.monotonic() + _PATIENCE_S
    while (changed := before ^ traces()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return changed


def nothing(changed: Collection[str]) -> bool:
    """Whether nothing is left; else print what is."""
    print(*sorted(changed), sep="\n", end="\n" if changed else "")
    return not changed


def _traces() -> Iterator[str]:
    yield from Path("/proc/self/mountinfo").read_text().splitlines()
    yield from (str(path) for path in cgroup.mount_point().rglob("*") if path.is_dir())
    for pattern in ("*", "job-*/*", "worker-*/*"):
        yield from map(str, Path("/run/leakstop").glob(pattern))
    for command in _LISTS:
        lines = _said(*command).splitlines()
        # Comments with the time, and packet counters.
        yield from (f"{command[0]}: {line}" for line in lines if line[:1] not in ("#", ":"))
    for kind in _BPF:
        # The ids alone: programs count what they do.
        yield from (f"{kind} {item['id']}" for item in json.loads(_said("bpftool", "-j", kind)))
    socket = _SOCKET.stat()
    yield f"{_SOCKET} {socket.st_mode:o} {socket.st_uid} {socket.st_gid}"
    for pattern in _FILES:
        for path in Path("/").glob(pattern.lstrip("/")):
            yield f"{path} {path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    print(*sorted(traces()), sep="\n")
