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
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from leakstop.bpf.libbpf import BpfError, Library, Object, library

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
_PROG_ID_AT = 4
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

    def close(self) -> None:
        """Let go; a pinned one stays."""


class TcxLink:
    """A tcx link, in front of the programs of others."""

    def __init__(self, program: int, ifindex: int) -> None:
        options = _LinkOptions(sz=ctypes.sizeof(_LinkOptions), flags=_BPF_F_BEFORE)
        self._ifindex = ifindex
        self._fd = library().call(
            "bpf_link_create", program, ifindex, _BPF_TCX_EGRESS, ctypes.byref(options)
        )

    def pin(self, directory: Path) -> None:
        """Keep it there when this process is gone."""
        path = directory / f"{_LINK}-{self._ifindex}"
        path.unlink(missing_ok=True)
        library().call("bpf_obj_pin", self._fd, os.fsencode(path))

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
        """Read ``name`` back."""
        ifindex, handle, priority, made = map(int, name.split("-")[1:])
        return cls(ifindex, handle, priority, bool(made))

    def remove(self, program_id: int) -> None:
        """Delete it, if it is still ours; and the qdisc, if we made it and nobody else uses it."""
        lib, hook = library(), _hook(self.ifindex, _EGRESS)
        place = _FilterOptions(
            sz=ctypes.sizeof(_FilterOptions), handle=self.handle, priority=self.priority
        )
        asked = _FilterOptions.from_buffer_copy(place)
        if lib.attempt("bpf_tc_query", ctypes.byref(hook), ctypes.byref(asked)) < 0:
            return  # the interface is gone, or it is another namespace's
        if asked.prog_id == program_id:
            lib.attempt("bpf_tc_detach", ctypes.byref(hook), ctypes.byref(place))
            if self.made_qdisc and not _has_filters(self.ifindex):
                whole = _hook(self.ifindex, _WHOLE_QDISC)
                lib.attempt("bpf_tc_hook_destroy", ctypes.byref(whole))


class ClsactFilter:
    """A filter in direct-action mode, in front of those of others."""

    def __init__(self, program: int, ifindex: int) -> None:
        lib, hook = library(), _hook(ifindex, _EGRESS)
        made = lib.attempt("bpf_tc_hook_create", ctypes.byref(hook))
        if made < 0 and made != -_EEXIST:
            raise lib.error("bpf_tc_hook_create", -made)
        options = _FilterOptions(sz=ctypes.sizeof(_FilterOptions), prog_fd=program)
        lib.call("bpf_tc_attach", ctypes.byref(hook), ctypes.byref(options))
        self._program = program
        self._filter = Filter(ifindex, options.handle, options.priority, made == 0)
        self._pinned = False

    def pin(self, directory: Path) -> None:
        """Keep the program, and with its name the way to the filter."""
        path = directory / self._filter.name
        path.unlink(missing_ok=True)
        library().call("bpf_obj_pin", self._program, os.fsencode(path))
        self._pinned = True

    def close(self) -> None:
        """Let go; a pinned one stays."""
        if not self._pinned:
            self._filter.remove(_program_id(library(), self._program))


def attach(opened: Object, program: str, ifindex: int) -> Attachment:
    """Attach ``program`` to what leaves over an interface.

    Raises:
        BpfError: the interface is gone, or the kernel refuses.
    """
    descriptor = opened.program_fd(program)
    try:
        return TcxLink(descriptor, ifindex)
    except BpfError:
        return ClsactFilter(descriptor, ifindex)


def remove_filters(directory: Path) -> None:
    """Delete the filters that pins in ``directory`` name. Links end with their pins."""
    lib = library()
    for pin in directory.glob(f"{_FILTER}-*"):
        descriptor = lib.attempt("bpf_obj_get", os.fsencode(pin))
        if descriptor >= 0:
            try:
                Filter.named(pin.name).remove(_program_id(lib, descriptor))
            finally:
                os.close(descriptor)


def _hook(ifindex: int, point: int) -> _Hook:
    return _Hook(sz=ctypes.sizeof(_Hook), ifindex=ifindex, attach_point=point)


def _program_id(lib: Library, descriptor: int) -> int:
    info, size = ctypes.create_string_buffer(256), ctypes.c_uint32(256)
    lib.call("bpf_obj_get_info_by_fd", descriptor, info, ctypes.byref(size))
    return int.from_bytes(info.raw[_PROG_ID_AT : _PROG_ID_AT + 4], "little")


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


__all__ = ["Attachment", "attach", "remove_filters"]
