# SPDX-License-Identifier: MIT
"""Keeps probes on what is mapped to be executed, in a thread of its own.

A program that has just been started is in a race with us: its probes have to be there before its
first write, a handshake later. So nothing else that the agent does stands in the way.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leakstop.bpf.libbpf import BpfError
from leakstop.sensor import proc
from leakstop.sensor.timer import now_ns
from leakstop.sensor.tls.files import opened
from leakstop.sensor.tls.gate import Gate
from leakstop.sensor.tls.installed import libraries, programs
from leakstop.sensor.tls.mappings import FileId, Mapped, MappingWatch, mapped_by
from leakstop.sensor.tls.probes import Attach, Inherited, Probes

_AGAIN_S = 1.0
"""A file that is mapped again and again is looked at as often: it may have been overwritten."""
_LOOKED_MAX = 65_536
_IDLE_S = 0.05
"""When so long nothing was mapped, one of the installed programs is looked at."""
_LONG_AGO = 1
"""Boot clock: what an agent before this one attached was there before whatever is asked about."""
_AHEAD = -15
"""Priority of the thread (nice(2)): builds use every processor that there is."""


@dataclass(frozen=True, slots=True)
class _Looked:
    at_s: float
    covered_ns: int
    """Since when its plaintext is seen, on the boot clock; 0 if it is not."""


class Coverage:
    """What carries probes. Safe to be asked from any thread."""

    def __init__(self, attach: Attach, cgroup: Path, gate: Gate, inherited: Inherited) -> None:
        self._probes = Probes(attach, inherited)
        self._inherited = frozenset(inherited)
        self._gate = gate
        self._cgroup = cgroup
        self._lock = threading.Lock()
        self._looked: dict[FileId, _Looked] = {}
        self._mapped: dict[int, tuple[Mapped, int]] = {}
        self._failed = 0
        self._watch: MappingWatch | None = None
        self._thread: threading.Thread | None = None
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)

    def start(self) -> list[str]:
        """Cover what is installed, follow what comes; return which libraries are refused.

        Raises:
            OSError: the kernel does not tell what is mapped. The rest is done.
        """
        refused = [library.name for library in libraries() if not self._cover_installed(library)]
        for pid in proc.members(self._cgroup):
            self.look_at(pid)
        self._watch = MappingWatch(self._cgroup)
        self._thread = threading.Thread(target=self._follow, name="tls-probes", daemon=True)
        self._thread.start()
        return refused

    def look_at(self, pid: int) -> list[tuple[Mapped, int]]:
        """What a process has mapped, and since when the plaintext in it is seen, else 0."""
        return [(mapped, self._cover(mapped)) for mapped in mapped_by(pid)]

    def last_of(self, pid: int) -> tuple[Mapped, int] | None:
        """What a process last mapped that is covered, and since when it is."""
        return self._mapped.get(pid)

    def forget(self, pid: int) -> None:
        """A process is gone, or has become another program."""
        self._mapped.pop(pid, None)

    def failures(self) -> int:
        """How many files could not be attached to; asked once."""
        with self._lock:
            failed, self._failed = self._failed, 0
        return failed

    def close(self) -> None:
        """Detach everything; may be called more than once."""
        if self._thread is not None:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            self._thread = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._stop >= 0:
            os.close(self._stop)
            self._stop = -1
        self._probes.close()

    # -- the thread ---------------------------------------------------------------------

    def _follow(self) -> None:
        assert self._watch is not None
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _AHEAD)
        waiting = select.poll()
        waiting.register(self._stop, select.POLLIN)
        for ring in self._watch.rings:
            waiting.register(ring, select.POLLIN)
        self._gate.open()
        later: Iterator[Path] | None = programs()
        while True:
            ready = waiting.poll(_IDLE_S * 1000 if later is not None else None)
            if any(descriptor == self._stop for descriptor, _ in ready):
                return
            if ready or later is None:
                try:
                    self._drain(self._watch)
                except BpfError:  # a table is full; what comes next matters, too
                    self._failed += 1
            elif (program := next(later, None)) is not None:
                self._cover_installed(program)
            else:
                later = None

    def _drain(self, watch: MappingWatch) -> None:
        heard = list(watch.read())
        for mapped in heard:
            if mapped.file not in self._looked:
                self._gate.hold(mapped)
        for mapped in heard:
            since_ns = self._cover(mapped)
            if since_ns:
                self._mapped[mapped.pid] = mapped, since_ns
        for mapped in heard:  # last: a process waits for all that it has mapped
            self._gate.release(mapped)
        if watch.lost():
            for pid in proc.members(self._cgroup):
                self.look_at(pid)

    # -- files --------------------------------------------------------------------------

    def _cover_installed(self, path: Path) -> bool:
        """Whether the kernel took what is to be attached, if anything is."""
        with self._lock, opened(path) as file:
            try:
                if file is not None:
                    self._probes.cover(file)
            except BpfError:
                return False
        return True

    def _cover(self, mapped: Mapped) -> int:
        """Since when the plaintext in a file is seen; 0 if it is not."""
        now = time.monotonic()
        with self._lock:
            before = self._looked.get(mapped.file)
            if before is not None and now - before.at_s < _AGAIN_S:
                return before.covered_ns
            covered_ns = self._cover_file(mapped)
            since_ns = before.covered_ns if before else 0
            if covered_ns is None:
                return since_ns
            if len(self._looked) >= _LOOKED_MAX:
                self._looked.clear()
            since_ns = (since_ns or covered_ns) if covered_ns else 0
            self._looked[mapped.file] = _Looked(now, since_ns)
            return since_ns

    def _cover_file(self, mapped: Mapped) -> int | None:
        """Since when the plaintext in a file is seen; ``None`` if it cannot be found any more."""
        for way in mapped.ways():
            with opened(way) as file:
                if file is None:
                    continue
                try:
                    covered = self._probes.cover(file)
                    since_ns = _LONG_AGO if file.version in self._inherited else now_ns()
                    return since_ns if covered else 0
                except BpfError:
                    self._failed += 1
                    return 0
        return None


__all__ = ["Coverage"]
