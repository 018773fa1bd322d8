# SPDX-License-Identifier: MIT
"""The clock of events, and a timer as a file descriptor: timerfd_create(2), which Python has only
since 3.13."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

_CLOCK_MONOTONIC = 1


_AT_ONCE_S = 1e-6
"""Zero would mean never."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Readable every ``interval_s`` (0: only when it is set), until ``clear``."""

    def __init__(self, interval_s: float = 0.0) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        # TFD_NONBLOCK and TFD_CLOEXEC are defined as the O_ flags (sys/timerfd.h).
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, flags)
        period = _timespec(interval_s)
        if self._descriptor < 0 or self._set(_Itimerspec(period, period)):
            error = ctypes.get_errno()
            raise OSError(error, f"no timer: {os.strerror(error)}")

    def set(self, delay_s: float) -> None:
        """Become readable once, so much later; what was set before is void."""
        self._set(_Itimerspec(_timespec(0.0), _timespec(max(delay_s, _AT_ONCE_S))))

    def _set(self, setting: _Itimerspec) -> int:
        result: int = self._libc.timerfd_settime(self._descriptor, 0, ctypes.byref(setting), None)
        return result

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


def now_ns() -> int:
    """Boot clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _timespec(seconds: float) -> _Timespec:
    return _Timespec(int(seconds), int(seconds % 1 * 1e9))


__all__ = ["Timer", "now_ns"]
