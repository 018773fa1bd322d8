# SPDX-License-Identifier: MIT
"""Programs on network interfaces: by a link (tcx, Linux 6.6) or, below that, a clsact filter.

A link goes when nobody holds it. A filter stays until it is deleted, so what is needed for that
is the name of the pin beside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from leakstop.bpf.held import program_of, runs_like
from leakstop.bpf.ids import object_id
from leakstop.bpf.libbpf import BpfError, Object, library

_BPF_TCX_EGRESS = 47
_BPF_F_BEFORE = 1 << 3
_EGRESS, _WHOLE_QDISC = 2, 3  # enum bpf_tc_attach_point
_EEXIST = 17
_LINK, _FILTER = "tcx", "clsact"

# <linux/rtnetlink.h>, <linux/pkt_sched.h>
_RTM_NEWTFILTER, _RTM_GETTFILTER = 44, 46
_NLM_F_REQUEST_DUMP = 0x001 | 0x300
_CLSACT_PARENTS = (0xFFFFFFF2, 0xFFFFFFF3)
_HEADER, _TCMSG = struct.Struct("=IHHII"), struct.Struct("=BxxxiIII")
_PATIENCE_S = 1.0


class _LinkOptions(ctypes.Structure):
    """The start of ``struct bpf_link_create_opts``"""

    _fields_ = (("sz", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("pad", ctypes.c_uint32))


class _Hook(ctypes.Structure):
    """``struct bpf_tc_hook``"""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("ifindex", ctypes.c_int),
        ("attach_point", ctypes.c_int),
        ("parent", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class _FilterOptions(ctypes.Structure):
    """``struct bpf_tc_opts``"""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("prog_fd", ctypes.c_int),
        ("flags", ctypes.c_uint32),
        ("prog_id", ctypes.c_uint32),
        ("handle", ctypes.c_uint32),
        ("priority", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class Attachment(Protocol):
    """A program on an interface."""

    def pin(self, directory: Path) -> None:
        """Keep it there when this process is gone."""

    def holds(self) -> bool:
        """Whether it still is there."""

    def close(self) -> None:
        """Let go; a pinned one stays."""


class TcxLink:
    """A tcx link, in front of the programs of others."""

    def __init__(self, descriptor: int, ifindex: int) -> None:
        self._fd = descriptor
        self._ifindex = ifindex
        self._program = program_of(descriptor)

    @classmethod
    def create(cls, program: int, ifindex: int) -> TcxLink:
        """Attach ``program``."""
        options = _LinkOptions(sz=ctypes.sizeof(_LinkOptions), flags=_BPF_F_BEFORE)
        arguments = (program, ifindex, _BPF_TCX_EGRESS, ctypes.byref(options))
        return cls(library().call("bpf_link_create", *arguments), ifindex)

    def pin(self, directory: Path) -> None:
        """Keep it there when this process is gone."""
        path = directory / f"{_LINK}-{self._ifindex}"
        path.unlink(missing_ok=True)
        library().call("bpf_obj_pin", self._fd, os.fsencode(path))

    def holds(self) -> bool:
        """Whether it still is there."""
        return program_of(self._fd) == self._program != 0

    def close(self) -> None:
        """Let go; a pinned one stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a clsact qdisc, found again by what ``name`` says."""

    ifindex: int
    handle: int
    priority: int
    made_qdisc: bool

    @property
    def name(self) -> str:
        """The name of its pin."""
        made = int(self.made_qdisc)
        return f"{_FILTER}-{self.ifindex}-{self.handle}-{self.priority}-{made}"

    @classmethod
    def named(cls, name: str) -> Filter:
        """Read ``name`` back.

        Raises:
            ValueError: it is none of ours. Whoever is root can pin something there, too.
        """
        ifindex, handle, priority, made = map(int, name.split("-")[1:])
        return cls(ifindex, handle, priority, bool(made))

    def runs(self, program: int) -> bool:
        """Whether the interface has it, and it is the program of this id."""
        hook, asked = _hook(self.ifindex, _EGRESS), self._options()
        # It fails if the interface is gone, or another namespace's.
        there = library().attempt("bpf_tc_query", ctypes.byref(hook), ctypes.byref(asked)) >= 0
        return there and asked.prog_id == program

    def remove(self, program: int) -> None:
        """Delete it, if it is still ours; and the qdisc, if we made it and nobody else uses it."""
        lib, hook, place = library(), _hook(self.ifindex, _EGRESS), self._options()
        if self.runs(program):
            lib.attempt("bpf_tc_detach", ctypes.byref(hook), ctypes.byref(place))
            if self.made_qdisc and not _has_filters(self.ifindex):
                whole = _hook(self.ifindex, _WHOLE_QDISC)
                lib.attempt("bpf_tc_hook_destroy", ctypes.byref(whole))

    def _options(self) -> _FilterOptions:
        size = ctypes.sizeof(_FilterOptions)
        return _FilterOptions(sz=size, handle=self.handle, priority=self.priority)


class ClsactFilter:
    """A filter in direct-action mode, in front of those of others."""

    def __init__(self, program: int, place: Filter, *, pinned: bool = False) -> None:
        self._program = program
        self._filter = place
        self._pinned = pinned

    @classmethod
    def create(cls, program: int, ifindex: int) -> ClsactFilter:
        """Attach ``program``."""
        lib, hook = library(), _hook(ifindex, _EGRESS)
        made = lib.attempt("bpf_tc_hook_create", ctypes.byref(hook))
        if made < 0 and made != -_EEXIST:
            raise lib.error("bpf_tc_hook_create", -made)
        options = _FilterOptions(sz=ctypes.sizeof(_FilterOptions), prog_fd=program)
        lib.call("bpf_tc_attach", ctypes.byref(hook), ctypes.byref(options))
        return cls(program, Filter(ifindex, options.handle, options.priority, made == 0))

    def pin(self, directory: Path) -> None:
        """Keep the program, and with its name the way to the filter."""
        path = directory / self._filter.name
        path.unlink(missing_ok=True)
        library().call("bpf_obj_pin", self._program, os.fsencode(path))
        self._pinned = True

    def holds(self) -> bool:
        """Whether it still is there."""
        return self._filter.runs(object_id(self._program))

    def close(self) -> None:
        """Let go; a pinned one stays."""
        if not self._pinned:
            self._filter.remove(object_id(self._program))


def attach(opened: Object, program: str, ifindex: int) -> Attachment:
    """Attach ``program`` to what leaves over an interface.

    Raises:
        BpfError: the interface is gone, or the kernel refuses.
    """
    descriptor = opened.program_fd(program)
    try:
        return TcxLink.create(descriptor, ifindex)
    except BpfError:
        return ClsactFilter.create(descriptor, ifindex)


def adopt(
    opened: Object, program: str, ifindex: int, pinned: Mapping[str, int]
) -> Attachment | None:
    """Take over what an agent before this one attached, if it still is there.

    ``pinned``: descriptors by the names of their pins.
    """
    for name, descriptor in pinned.items():
        if name == f"{_LINK}-{ifindex}":
            if runs_like(descriptor, opened.program_fd(program)):
                return TcxLink(os.dup(descriptor), ifindex)
        elif name.startswith(f"{_FILTER}-{ifindex}-"):
            with contextlib.suppress(ValueError):
                place = Filter.named(name)
                if place.runs(object_id(descriptor)):
                    return ClsactFilter(os.dup(descriptor), place, pinned=True)
    return None


def was_on(ifindex: int, pinned: Iterable[str]) -> bool:
    """Whether one of the pins with these names stands for something on this interface."""
    places = [_LINK, str(ifindex)], [_FILTER, str(ifindex)]
    return any(name.split("-")[:2] in places for name in pinned)


def remove_filters(directory: Path) -> None:
    """Delete the filters that pins in ``directory`` name. Links end with their pins."""
    lib = library()
    for pin in directory.glob(f"{_FILTER}-*"):
        descriptor = lib.attempt("bpf_obj_get", os.fsencode(pin))
        if descriptor >= 0:
            try:
                with contextlib.suppress(ValueError):
                    Filter.named(pin.name).remove(object_id(descriptor))
            finally:
                os.close(descriptor)


def _hook(ifindex: int, point: int) -> _Hook:
    return _Hook(sz=ctypes.sizeof(_Hook), ifindex=ifindex, attach_point=point)


def _has_filters(ifindex: int) -> bool:
    """Whether anybody uses the interface's clsact qdisc; when in doubt, yes."""
    with contextlib.suppress(OSError):
        return any(_filters_below(ifindex, parent) for parent in _CLSACT_PARENTS)
    return True


def _filters_below(ifindex: int, parent: int) -> bool:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink:
        netlink.settimeout(_PATIENCE_S)
        size = _HEADER.size + _TCMSG.size
        head = _HEADER.pack(size, _RTM_GETTFILTER, _NLM_F_REQUEST_DUMP, 1, 0)
        netlink.send(head + _TCMSG.pack(0, ifindex, 0, parent, 0))
        _, kind, *_ = _HEADER.unpack_from(netlink.recv(1 << 16))
        return bool(kind == _RTM_NEWTFILTER)


__all__ = ["Attachment", "adopt", "attach", "remove_filters", "was_on"]
