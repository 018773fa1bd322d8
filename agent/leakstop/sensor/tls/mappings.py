# SPDX-License-Identifier: MIT
"""Which files processes map to execute: as it happens, and as /proc shows it."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leakstop.bpf import perf

# struct of PERF_RECORD_MMAP2: pid, tid, addr, len, pgoff, maj, min, ino, generation, prot, flags
_RECORD = struct.Struct("<IIQQQIIQQII")
_TIME = struct.Struct("<Q")
_LINE = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)")
_MAPS_MAX = 4 << 20

FileId = tuple[int, int, int]
"""Device (major, minor) and inode, as mappings tell them. On layered file systems those are of
the layer, and stat(2) may tell others."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A file that a process has mapped to be executed."""

    ts_ns: int
    """Boot clock; 0 where it is not known."""
    pid: int
    file: FileId
    start: int
    end: int
    path: bytes
    """As the process sees it."""

    @property
    def inode(self) -> int:
        """As the kernel numbers it."""
        return self.file[2]

    def ways(self) -> Iterator[Path]:
        """Names under which we may find the file: it may have none, and the process be gone."""
        process = Path(f"/proc/{self.pid}")
        yield process / "map_files" / f"{self.start:x}-{self.end:x}"
        if self.path.startswith(b"/"):
            yield process / "root" / os.fsdecode(self.path[1:])
            if self._is_ours():
                yield Path(os.fsdecode(self.path))

    def _is_ours(self) -> bool:
        """Whether the same name means the same file here: the process may be gone already."""
        try:
            found = Path(os.fsdecode(self.path)).stat()
        except (OSError, ValueError):
            return False
        return (os.major(found.st_dev), os.minor(found.st_dev), found.st_ino) == self.file


class MappingWatch:
    """Hears of every mapping in a cgroup, or on the machine where the kernel cannot tell apart."""

    def __init__(self, cgroup: Path) -> None:
        """Raise ``OSError`` where the kernel refuses."""
        self.rings: list[perf.MappingRing] = []
        """Each is readable when there is something to read."""
        self._lost = False
        try:
            try:
                self._open(cgroup)
            except OSError:
                self._open(None)
        except OSError:
            self.close()
            raise

    def read(self) -> Iterator[Mapped]:
        """What was mapped since."""
        for ring in self.rings:
            for kind, body in ring.records():
                if kind == perf.RECORD_MMAP2:
                    yield from _mapped(body)
                elif kind == perf.RECORD_LOST:
                    self._lost = True

    def lost(self) -> bool:
        """Whether something was mapped of which nothing was heard; asked once."""
        lost, self._lost = self._lost, False
        return lost

    def close(self) -> None:
        """Stop listening."""
        for ring in self.rings:
            ring.close()
        self.rings.clear()

    def _open(self, cgroup: Path | None) -> None:
        descriptor = perf.ANYONE
        try:
            if cgroup is not None:
                descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for cpu in _online():
                self.rings.append(perf.MappingRing(cpu, descriptor))
        except OSError:
            self.close()
            raise
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _mapped(body: bytes) -> Iterator[Mapped]:
    pid, _, address, length, _, major, minor, inode, _, _, _ = _RECORD.unpack_from(body)
    if inode:
        path = body[_RECORD.size : -_TIME.size].split(b"\0", 1)[0]
        (ts_ns,) = _TIME.unpack(body[-_TIME.size :])
        yield Mapped(ts_ns, pid, (major, minor, inode), address, address + length, path)


def mapped_by(pid: int) -> list[Mapped]:
    """What a process has mapped now; nothing if it is gone."""
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as file:
            text = file.read(_MAPS_MAX)
    except OSError:
        return []
    found = []
    for line in text.split(b"\n"):  # the kernel escapes that one in a path, and no other
        if match := _LINE.match(line):
            start, end, major, minor = (int(match[group], 16) for group in (1, 2, 3, 4))
            if inode := int(match[5]):
                found.append(Mapped(0, pid, (major, minor, inode), start, end, match[6]))
    return found


def _online() -> Iterator[int]:
    """Processors that run: ``0-3,6`` in the kernel's words."""
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


__all__ = ["FileId", "Mapped", "MappingWatch", "mapped_by"]
