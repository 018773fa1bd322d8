# SPDX-License-Identifier: MIT
"""Pins: what keeps the programs attached when the agent is gone.

Each guard has a BPF file system of its own, mounted below its private directory. Taking
that mount away lets go of everything that only the pins held.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from pathlib import Path

from leakstop.bpf import tc, values
from leakstop.bpf.libbpf import BpfError, library
from leakstop.bpf.mounts import mounts

MAPS = "maps"
"""Directory of the pins of maps, below that of links."""
PROBE = "tls-"
"""What the names of pins of probes begin with."""
_REFUSALS = f"{MAPS}/refusals"

_MARKING = "on_egress"
_ANSWER_S = 5.0
"""How long a packet can be on its way to its device: a neighbour's address is asked for three
times, a second apart (mcast_solicit, retrans_time_ms in ip-sysctl)."""
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(directory: Path) -> None:
    """Mount a BPF file system on ``directory``, which is made.

    Raises:
        BpfError: the kernel refuses.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _libc.mount(b"bpf", os.fsencode(directory), b"bpf", 0, b"mode=0700"):
        raise BpfError(
            f"no BPF file system could be mounted: {os.strerror(ctypes.get_errno())}",
            why="without it the programs would be gone with the agent",
            fix="run as root outside of a container, or privileged",
            where=str(directory),
        )


def map_pin(name: str) -> str:
    """Name of the pin of the map ``name``: a BPF file system reserves dots."""
    return f"{MAPS}/{name.replace('.', '_')}"


def names(directory: Path) -> set[str]:
    """Names of the pins of links and maps; none where the file system is gone."""
    found: set[str] = set()
    for below in ("", f"{MAPS}/"):
        with contextlib.suppress(OSError):  # without those of maps there may be links
            listed = os.listdir(directory / below)  # noqa: PTH208 - asked four times a second
            found.update(below + name for name in listed)
    return found


def held(directory: Path) -> dict[str, int]:
    """Open what is pinned below ``directory``, but for the probes: there may be thousands."""
    lib, found = library(), {}
    for name in names(directory) - {MAPS}:
        if not name.startswith(PROBE):
            descriptor = lib.attempt("bpf_obj_get", os.fsencode(directory / name))
            if descriptor >= 0:
                found[name] = descriptor
    return found


def release(directory: Path) -> int:
    """Unmount every BPF file system at or below ``directory`` and return how many those were.

    Links that nobody else holds are detached with it.
    """
    below = directory.resolve()
    released = 0
    for mount in mounts():
        if mount.kind == "bpf" and mount.point.is_relative_to(below):
            _stop_marking(mount.point)
            tc.remove_filters(mount.point)
            released += _libc.umount2(os.fsencode(mount.point), _MNT_DETACH) == 0
    return released


def _stop_marking(directory: Path) -> None:
    """End the packet hook before the interfaces': a refused question must not pass between."""
    lib = library()
    hook = lib.attempt("bpf_obj_get", os.fsencode(directory / _MARKING))
    sums = lib.attempt("bpf_obj_get", os.fsencode(directory / _REFUSALS))
    if hook >= 0:
        lib.attempt("bpf_link_detach", hook)
        os.close(hook)
    if sums >= 0:
        while _is_under_way(sums):
            time.sleep(0.01)
        os.close(sums)


def _is_under_way(sums: int) -> bool:
    """Whether a marked question has not met its answer yet, and still can."""
    state = values.Refusals()
    library().call("bpf_map_lookup_elem", sums, bytes(4), ctypes.byref(state))
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - state.last / 1e9
    return bool(state.met < state.marked and age_s < _ANSWER_S)


__all__ = ["MAPS", "PROBE", "held", "map_pin", "mount", "names", "release"]
