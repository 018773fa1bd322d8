# SPDX-License-Identifier: MIT
"""Child cgroups for tests, wherever this machine has its cgroup v2 hierarchy."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_numbers = itertools.count(1)


def mount_points(kinds: Collection[str] = ("cgroup", "cgroup2")) -> list[Path]:
    """Where the cgroup hierarchies are mounted, of version 1 and 2."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # proc(5): optional fields end at " - ", the type follows
        before, _, after = line.partition(" - ")
        if after.split()[0] in kinds:
            found.append(Path(before.split()[4]))
    return found


def mount_point() -> Path:
    """Where cgroup v2 is mounted: not always ``/sys/fs/cgroup`` (hybrid hierarchies).

    Raises:
        LookupError: nowhere.
    """
    for point in mount_points({"cgroup2"}):
        return point
    raise LookupError("no cgroup v2 hierarchy is mounted")


def current() -> Path:
    """The cgroup v2 directory of this process."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return mount_point() / line[len("0::") :].lstrip("/")
    raise LookupError("this process is in no cgroup v2")


def children(parent: Path | None = None) -> set[str]:
    """Names of the cgroups right below ``parent`` (default: ours), to compare before and after."""
    return {entry.name for entry in (parent or current()).iterdir() if entry.is_dir()}


@contextmanager
def child() -> Iterator[Path]:
    """Make an empty cgroup; at the end kill what is in it and remove it."""
    made = current() / f"leakstop-test-{os.getpid()}-{next(_numbers)}"
    made.mkdir()
    try:
        yield made
    finally:
        remove(made)


def command_in(group: Path, command: Sequence[str]) -> list[str]:
    """A command line that moves itself into ``group`` and becomes ``command``."""
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]


def run_in(group: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in ``group`` to its end."""
    return subprocess.run(command_in(group, command), text=True, capture_output=True, timeout=20)


def remove(group: Path) -> None:
    """Kill the processes in ``group`` and below, by their ids, and remove it."""
    for below in [entry for entry in group.iterdir() if entry.is_dir()]:
        remove(below)
    deadline = time.monotonic() + 5
    while True:
        pids = (group / "cgroup.procs").read_text().split()
        for pid in map(int, pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            group.rmdir()
        except OSError:  # busy, and for a moment longer than it lists who dies in it
            if time.monotonic() > deadline:
                raise TimeoutError(f"{group}: still busy: {pids}") from None
            time.sleep(0.005)
        else:
            return
