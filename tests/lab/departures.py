# SPDX-License-Identifier: MIT
"""What is attached to the interfaces of the lab, and what comes out of them."""

from __future__ import annotations

import ctypes
import socket
from contextlib import suppress

from lab.namespace import Namespace
from leakstop.bpf.libbpf import library

_BPF_TCX_EGRESS = 47
_ETH_P_ALL = 3


def departures(namespace: Namespace, device: str) -> int:
    """How many programs see what leaves over an interface (tcx)."""
    lib = library()._lib
    ids, flags = (ctypes.c_uint32 * 16)(), ctypes.c_uint32()
    count = ctypes.c_uint32(len(ids))

    def ask() -> int:
        index = socket.if_nametoindex(device)
        return int(
            lib.bpf_prog_query(
                index, _BPF_TCX_EGRESS, 0, ctypes.byref(flags), ids, ctypes.byref(count)
            )
        )

    assert namespace.call(ask) == 0
    return count.value


def everything() -> socket.socket:
    """All frames of the calling thread's namespace from now on."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    wire.setblocking(False)
    return wire


def frames(wire: socket.socket) -> list[bytes]:
    """What ``everything`` has caught since the last call."""
    caught = []
    with suppress(BlockingIOError):
        while True:
            caught.append(wire.recv(65536))
    return caught
