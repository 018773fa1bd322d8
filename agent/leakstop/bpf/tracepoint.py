# SPDX-License-Identifier: MIT
"""Opens a tracepoint. libbpf looks for tracefs in two places only, and it may be in neither."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leakstop.bpf.libbpf import BpfError
from leakstop.bpf.mounts import mount_of

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_PERF_TYPE_TRACEPOINT = 2
_PERF_FLAG_FD_CLOEXEC = 8
_ANYONE, _CPU = -1, 0
"""A program on a tracepoint runs on every processor, whichever its event was opened for."""
_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """``struct perf_event_attr``, as long as its first version"""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 5),
    )


def open_event(name: str, scratch: Path) -> int:
    """Open the tracepoint ``name`` (``group/event``) and return its descriptor.

    ``scratch`` does not exist yet; tracefs is mounted there for a moment if it is nowhere.

    Raises:
        BpfError: this machine has no such tracepoint, or does not show it.
    """
    try:
        with _tracefs(scratch) as root:
            number = int((root / "events" / name / "id").read_text())
        return _open(number)
    except (OSError, ValueError, KeyError) as error:
        raise BpfError(f"no tracepoint {name}: {error}") from error


@contextmanager
def _tracefs(scratch: Path) -> Iterator[Path]:
    mounted = mount_of("tracefs")
    if mounted is not None:
        yield mounted
        return
    scratch.mkdir(mode=0o700)
    try:
        _check(_libc.mount(b"tracefs", os.fsencode(scratch), b"tracefs", 0, None))
        try:
            yield scratch
        finally:
            _check(_libc.umount2(os.fsencode(scratch), 0))
    finally:
        scratch.rmdir()


def _open(number: int) -> int:
    attributes = _Attributes(
        type=_PERF_TYPE_TRACEPOINT,
        size=ctypes.sizeof(_Attributes),
        config=number,
        sample_period=1,
    )
    call = _PERF_EVENT_OPEN[os.uname().machine]
    flags = _PERF_FLAG_FD_CLOEXEC
    return _check(_libc.syscall(call, ctypes.byref(attributes), _ANYONE, _CPU, -1, flags))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


__all__ = ["open_event"]
