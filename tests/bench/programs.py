# SPDX-License-Identifier: MIT
"""What the kernel knows about a loaded program: what verifying it took, and what it costs."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leakstop.bpf.libbpf import library
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of
from leakstop.sensor.load import load

_STATS_RUN_TIME = 0
"""BPF_STATS_RUN_TIME of <linux/bpf.h>"""
_TYPE_TRACING = 26
"""BPF_PROG_TYPE_TRACING"""


class _Info(ctypes.Structure):
    """``struct bpf_prog_info`` of <linux/bpf.h>, up to what is read here."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("instructions", ctypes.c_uint64 * 2),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
        ("between", ctypes.c_uint8 * 112),
        ("run_time_ns", ctypes.c_uint64),
        ("run_cnt", ctypes.c_uint64),
        ("recursion_misses", ctypes.c_uint64),
        ("verified_insns", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Program:
    """A loaded program."""

    name: str
    everywhere: bool
    """It runs for every process of the machine, guarded or not."""
    verified: int
    """Instructions that the verifier walked through, over all paths."""
    runs: int
    run_ns: int
    """Time spent in all runs, counted while ``counting()``."""


def loaded(policy: Policy, secrets: Sequence[Secret]) -> tuple[Program, ...]:
    """Load the data plane as a guard does, look at its programs and unload it.

    What is configured matters: the verifier leaves out what the constants rule out.
    """
    opened = load(policy, compile_tables(policy), table_of(secrets), uplinks=True)
    try:
        return tuple(
            _program(library().call("bpf_program__fd", opened.program(name)))
            for name in opened.programs()
        )
    finally:
        opened.close()


def of_process(pid: int) -> tuple[Program, ...]:
    """The programs that a process holds descriptors of."""
    found: dict[int, Program] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        # A link shows the program's id, too, beside its own.
        if "prog_id" in fields and "link_id" not in fields:
            number = int(fields["prog_id"])
            descriptor = library()._lib.bpf_prog_get_fd_by_id(number)
            found[number] = _program(descriptor)
            os.close(descriptor)
    return tuple(found.values())


@contextmanager
def counting() -> Iterator[None]:
    """Let the kernel count runs and their time, which costs a little itself."""
    descriptor = library()._lib.bpf_enable_stats(_STATS_RUN_TIME)
    if descriptor < 0:
        raise OSError(-descriptor, "the kernel does not count runs of programs")
    try:
        yield
    finally:
        os.close(descriptor)


def _program(descriptor: int) -> Program:
    info, size = _Info(), ctypes.c_uint32(ctypes.sizeof(_Info))
    failed = library()._lib.bpf_obj_get_info_by_fd(
        descriptor, ctypes.byref(info), ctypes.byref(size)
    )
    if failed:
        raise OSError(-failed, "a program cannot be looked at")
    everywhere = info.type == _TYPE_TRACING
    name = info.name.decode()
    return Program(name, everywhere, info.verified_insns, info.run_cnt, info.run_time_ns)
