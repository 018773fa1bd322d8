# SPDX-License-Identifier: MIT
"""Links by their descriptors: those of an agent before this one, and what a link runs now."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from leakstop.bpf.libbpf import Library, library

# <linux/bpf.h>: struct bpf_link_info, struct bpf_prog_info
_INFO = 256
_KIND_AT, _PROGRAM_AT, _TARGET_AT = 0, 8, 16
_TAG_AT, _TAG_BYTES = 8, 8
_CGROUP, _TCX = 3, 11
"""Kinds of links that root can detach, whoever holds them: the target is 0 then. The others that
we use refuse it (EOPNOTSUPP)."""


class HeldLink:
    """A link of which only the descriptor is there."""

    def __init__(self, descriptor: int) -> None:
        """Take over ``descriptor``."""
        self.fd = descriptor

    def pin(self, path: Path) -> None:
        """Keep it attached when this process is gone."""
        library().call("bpf_obj_pin", self.fd, os.fsencode(path))

    def close(self) -> None:
        """Let go; a pinned one stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def program_of(link: int) -> int:
    """Id of the program that a link runs; 0 if it is detached."""
    info = _info(library(), link)
    kind, program = _word(info, _KIND_AT), _word(info, _PROGRAM_AT)
    return 0 if kind in (_CGROUP, _TCX) and not _word(info, _TARGET_AT) else program


def tag_of(program: int) -> bytes:
    """What tells a program's text from another one's (a hash of its instructions)."""
    return _info(library(), program)[_TAG_AT : _TAG_AT + _TAG_BYTES]


def runs_like(link: int, program: int) -> bool:
    """Whether a link is attached and runs the same text as ``program``."""
    number = program_of(link)
    if not number:
        return False
    running = library().attempt("bpf_prog_get_fd_by_id", number)
    if running < 0:
        return False
    try:
        return tag_of(running) == tag_of(program)
    finally:
        os.close(running)


def _info(lib: Library, descriptor: int) -> bytes:
    info, size = ctypes.create_string_buffer(_INFO), ctypes.c_uint32(_INFO)
    lib.call("bpf_obj_get_info_by_fd", descriptor, info, ctypes.byref(size))
    return info.raw


def _word(info: bytes, at: int) -> int:
    return int.from_bytes(info[at : at + 4], "little")


__all__ = ["HeldLink", "program_of", "runs_like", "tag_of"]
