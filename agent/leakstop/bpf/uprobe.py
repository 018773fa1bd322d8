# SPDX-License-Identifier: MIT
"""Attaches a program to places in a file: it runs in every process that has the file mapped.

Linux 6.6 and later have one link for all places of a program in a file. A classic one has a link,
an event and a wait for all processors for each of them, and until that is over nobody attaches
anything: 18 of them take two seconds to let go.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from leakstop.bpf.libbpf import BpfError, Link, Object, library

MULTI_SINCE = (6, 6)

_ANY_PROCESS = -1
# <linux/bpf.h> and <asm/unistd.h>
_BPF_LINK_CREATE = 28
_BPF_TRACE_UPROBE_MULTI = 48
_NR_BPF = {"x86_64": 321, "aarch64": 280}

_syscall = ctypes.CDLL(None, use_errno=True).syscall


class _Options(ctypes.Structure):
    """``struct bpf_uprobe_opts`` of libbpf 1.0 and 1.1; later ones read what ``sz`` covers"""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("ref_ctr_offset", ctypes.c_size_t),
        ("bpf_cookie", ctypes.c_uint64),
        ("retprobe", ctypes.c_bool),
        ("func_name", ctypes.c_char_p),
    )


class _LinkCreate(ctypes.Structure):
    """``union bpf_attr`` of BPF_LINK_CREATE, with ``uprobe_multi``: libbpf 1.1 cannot fill it"""

    _fields_ = (
        ("program", ctypes.c_uint32),
        ("target", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("path", ctypes.c_char_p),
        ("offsets", ctypes.POINTER(ctypes.c_uint64)),
        ("ref_ctr_offsets", ctypes.POINTER(ctypes.c_uint64)),
        ("cookies", ctypes.POINTER(ctypes.c_uint64)),
        ("count", ctypes.c_uint32),
        ("probe_flags", ctypes.c_uint32),
        ("process", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class Probe(Protocol):
    """A program that looks at places of a file."""

    def pin(self, path: Path) -> None:
        """Keep it there when this process is gone."""

    def close(self) -> None:
        """Let go; a pinned one stays."""


class _MultiLink:
    """One link for many places."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor

    def pin(self, path: Path) -> None:
        """Keep it there when this process is gone."""
        library().call("bpf_obj_pin", self._fd, os.fsencode(path))

    def close(self) -> None:
        """Let go; a pinned one stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Uprobes:
    """The programs of an object that look at places of files."""

    def __init__(self, opened: Object, *, multi: bool) -> None:
        """``multi``: the kernel has links for many places, and ``opened`` was prepared for them."""
        self._opened = opened
        self._multi = multi

    @staticmethod
    def prepare(opened: Object) -> None:
        """Before loading: make the programs fit links for many places."""
        for name in opened.programs():
            handle = opened.program(name)
            if library().text("bpf_program__section_name", handle).startswith("uprobe"):
                library().call(
                    "bpf_program__set_expected_attach_type", handle, _BPF_TRACE_UPROBE_MULTI
                )

    def attach(
        self, program: str, path: Path, offsets: Sequence[int], cookie: int
    ) -> tuple[Probe, ...]:
        """Run ``program`` whenever a process is about to execute what stands at these ``offsets``.

        The program learns ``cookie`` (bpf_get_attach_cookie). The kernel resolves ``path`` once, so
        ``/proc/self/fd/N`` names an open file, one without a name included.

        Raises:
            BpfError: the file is gone, or the kernel refuses; nothing is attached then.
        """
        if self._multi:
            return (self._attach_all(program, path, offsets, cookie),)
        probes: list[Probe] = []
        try:
            for offset in offsets:
                probes.append(self._attach_one(program, path, offset, cookie))  # noqa: PERF401
        except BpfError:
            for probe in probes:
                probe.close()
            raise
        return tuple(probes)

    def _attach_all(
        self, program: str, path: Path, offsets: Sequence[int], cookie: int
    ) -> _MultiLink:
        count = len(offsets)
        numbers = ctypes.c_uint64 * count
        request = _LinkCreate(
            program=self._opened.program_fd(program),
            attach_type=_BPF_TRACE_UPROBE_MULTI,
            path=os.fsencode(path),
            offsets=numbers(*offsets),
            cookies=numbers(*[cookie] * count),
            count=count,
        )
        number = _NR_BPF[os.uname().machine]
        descriptor = _syscall(
            number, _BPF_LINK_CREATE, ctypes.byref(request), ctypes.sizeof(request)
        )
        if descriptor < 0:
            raise library().error("BPF_LINK_CREATE", ctypes.get_errno())
        return _MultiLink(descriptor)

    def _attach_one(self, program: str, path: Path, offset: int, cookie: int) -> Link:
        options = _Options(sz=ctypes.sizeof(_Options), bpf_cookie=cookie)
        attached = library().pointer(
            "bpf_program__attach_uprobe_opts",
            self._opened.program(program),
            *(_ANY_PROCESS, os.fsencode(path), offset, ctypes.byref(options)),
        )
        return Link(library(), attached)


__all__ = ["MULTI_SINCE", "Probe", "Uprobes"]
