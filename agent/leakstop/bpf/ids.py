# SPDX-License-Identifier: MIT
"""What the kernel calls its BPF objects: each program and each map has a number of its own."""

from __future__ import annotations

import ctypes

from leakstop.bpf.libbpf import library

_INFO_BYTES = 8
"""Of ``struct bpf_prog_info`` and ``struct bpf_map_info``: both begin with a type and the id."""


def object_id(descriptor: int) -> int:
    """The number of a program or a map.

    Raises:
        BpfError: the descriptor is of neither.
    """
    info = ctypes.create_string_buffer(_INFO_BYTES)
    size = ctypes.c_uint32(_INFO_BYTES)
    library().call("bpf_obj_get_info_by_fd", descriptor, info, ctypes.byref(size))
    return int.from_bytes(info.raw[4:], "little")


__all__ = ["object_id"]
