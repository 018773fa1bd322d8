# SPDX-License-Identifier: MIT
"""A timer as a file descriptor: timerfd_create(2), which Python has only since 3.13."""

from __future__ import annotations

import contextlib
import ctypes
import os

_CLOCK_MONOTONIC = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Readable every ``interval_s``, until ``clear``."""

    def __init__(self, interval_s: float) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # TFD_NONBLOCK and TFD_CLOEXEC are defined as the O_ flags (sys/timerfd.h).
        self._descriptor: int = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        period = _Timespec(int(interval_s), int(interval_s % 1 * 1e9))
        setting = _Itimerspec(period, period)
        if self._descriptor < 0 or libc.timerfd_settime(
            self._descriptor, 0, ctypes.byref(setting), None
        ):
            error = ctypes.get_errno()
            raise OSError(error, f"no timer: {os.strerror(error)}")

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def clear(self) -> None:
        """Make it unreadable until the next time."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


__all__ = ["Timer"]
