# SPDX-License-Identifier: MIT
"""Opens a tracepoint. libbpf looks for tracefs in two places only, and it may be in neither."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from leakstop.bpf import perf
from leakstop.bpf.libbpf import BpfError
from leakstop.bpf.mounts import mount_of

_PERF_TYPE_TRACEPOINT = 2
_CPU = 0
"""A program on a tracepoint runs on every processor, whichever its event was opened for."""
_libc = ctypes.CDLL(None, use_errno=True)


def event_numbers(names: Iterable[str], scratch: Path) -> dict[str, int]:
    """Look up what the kernel calls the tracepoints ``names`` (``group/event``).

    ``scratch`` does not exist yet; tracefs is mounted there for a moment if it is nowhere.

    Raises:
        BpfError: this machine has no such tracepoint, or does not show it.
    """
    try:
        with _tracefs(scratch) as root:
            return {name: int((root / "events" / name / "id").read_text()) for name in names}
    except (OSError, ValueError) as error:
        raise BpfError(f"no such tracepoint: {error}") from error


def open_event(number: int) -> int:
    """Open a tracepoint and return its descriptor.

    Raises:
        BpfError: the kernel refuses.
    """
    attributes = perf.Attributes(type=_PERF_TYPE_TRACEPOINT, config=number, sample_period=1)
    try:
        return perf.open_event(attributes, _CPU)
    except OSError as error:
        raise BpfError(f"tracepoint {number} cannot be opened: {error}") from error


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


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


__all__ = ["event_numbers", "open_event"]
