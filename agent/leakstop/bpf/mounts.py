# SPDX-License-Identifier: MIT
"""What is mounted where, read from mountinfo and never assumed.

On hybrid hierarchies cgroup v2 is at ``/sys/fs/cgroup/unified``, in some containers elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOUNTINFO = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    kind: str
    """Type of the file system, e.g. ``cgroup2``."""
    point: Path
    whole: bool
    """Its root is mounted, not a directory in it."""
    number: int
    """No other mount that there is has it."""


def mounts(mountinfo: str | None = None) -> Iterator[Mount]:
    """All mounts of this process's mount namespace, or those of the text ``mountinfo``.

    proc(5): ``id parent major:minor root mount-point options [optional…] - type source super``.
    """
    text = _MOUNTINFO.read_text(errors="surrogateescape") if mountinfo is None else mountinfo
    for line in text.split("\n"):  # the kernel escapes no other sign at which lines could end
        head, dash, tail = line.partition(" - ")
        fields, kind = head.split(" "), tail.split()[:1]
        if dash and kind and len(fields) >= 6 and fields[0].isdecimal():
            point, whole = Path(_unescaped(fields[4])), fields[3] == "/"
            yield Mount(kind[0], point, whole, int(fields[0]))


def mount_of(kind: str, mountinfo: str | None = None) -> Path | None:
    """The first mount point of a file system of type ``kind``; one of its root wins."""
    found: dict[bool, Path] = {}
    for mount in mounts(mountinfo):
        if mount.kind == kind:
            found.setdefault(mount.whole, mount.point)
    return found.get(True) or found.get(False)


def _unescaped(field: str) -> str:
    """Undo mountinfo's octal escapes of blanks and backslashes."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


__all__ = ["Mount", "mount_of", "mounts"]
