# SPDX-License-Identifier: MIT
"""Which files carry probes: one set for each inode, renewed when the file has changed."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from leakstop.bpf import pins, uprobe
from leakstop.bpf.held import HeldLink
from leakstop.bpf.libbpf import BpfError, library
from leakstop.bpf.uprobe import Uprobes
from leakstop.model.channel import Library
from leakstop.sensor.tls.files import File, Version
from leakstop.sensor.tls.functions import Place

_KNOWN_MAX = 65_536
_NUMBERS = {library: number for number, library in enumerate(Library)}


class Probe(Protocol):
    """A program that looks at one place of a file."""

    def close(self) -> None:
        """Look no longer."""


Attach = Callable[[Sequence[Place], Path], tuple[Probe, ...]]
"""Attaches to all these places of a file, or to none."""


Inherited = Mapping[Version, Sequence[Probe]]
"""What an agent before this one attached, by the files that carry it."""
_NOTHING: Inherited = {}


@dataclass(frozen=True, slots=True)
class _Known:
    version: Version
    probes: Sequence[Probe]


class Probes:
    """Puts programs where plaintext passes."""

    def __init__(self, attach: Attach, inherited: Inherited = _NOTHING) -> None:
        self._attach = attach
        self._known = {
            (version.device, version.inode): _Known(version, probes)
            for version, probes in inherited.items()
        }

    def cover(self, file: File) -> bool:
        """Attach to what is in ``file``, if that was not done; whether there is anything.

        Raises:
            BpfError: there is, and the kernel refuses; it is not tried again.
        """
        key = file.version.device, file.version.inode
        known = self._known.get(key)
        if known is not None and known.version == file.version:
            return bool(known.probes)
        if known is not None:  # its places are those of another text
            _close(known.probes)
        probes: tuple[Probe, ...] = ()
        try:
            places = tuple(file.places())
            if places:
                probes = self._attach(places, file.path)
        finally:
            self._remember(key, _Known(file.version, probes))
        return bool(probes)

    def close(self) -> None:
        """Detach everything."""
        for known in self._known.values():
            _close(known.probes)
        self._known.clear()

    def _remember(self, key: tuple[int, int], known: _Known) -> None:
        self._known[key] = known
        if len(self._known) > _KNOWN_MAX:  # whoever made so many files loses no probe by it
            self._known = {key: known for key, known in self._known.items() if known.probes}


class PinnedProbe:
    """One that stays when this process is gone."""

    def __init__(self, probe: uprobe.Probe, path: Path) -> None:
        """``probe`` is pinned at ``path``."""
        self._probe = probe
        self._path = path

    def close(self) -> None:
        """Detach. The kernel waits for all processors before it lets go of a probe, 0.1 s each:
        of a pin it does so by itself, later."""
        self._probe.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def attacher(uprobes: Uprobes, directory: Path) -> Attach:
    """What attaches ``uprobes``, and pins them below ``directory``."""
    numbers = itertools.count(time.monotonic_ns())  # an agent before this one has pinned some

    def attach(places: Sequence[Place], path: Path) -> tuple[Probe, ...]:
        pinned: list[PinnedProbe] = []
        name = _name(Version.of(path.stat()))
        try:
            for (program, cookie), offsets in _by_program(places).items():
                for probe in uprobes.attach(program, path, offsets, cookie):
                    pin = directory / f"{name}{next(numbers):x}"
                    pinned.append(PinnedProbe(probe, pin))
                    probe.pin(pin)
        except BpfError:
            _close(pinned)
            raise
        return tuple(pinned)

    return attach


def inherit(directory: Path) -> Inherited:
    """What an agent before this one has pinned in ``directory``."""
    found: dict[Version, list[Probe]] = {}
    for pin in directory.glob(f"{pins.PROBE}*"):
        version = _version(pin.name)
        descriptor = library().attempt("bpf_obj_get", os.fsencode(pin)) if version else -1
        if version is not None and descriptor >= 0:
            found.setdefault(version, []).append(PinnedProbe(HeldLink(descriptor), pin))
    return found


def _name(version: Version) -> str:
    """How the names of the pins for a file begin: whoever comes after us has nothing else."""
    fields = (version.device, version.inode, version.size, version.changed_ns)
    return pins.PROBE + "".join(f"{field:x}-" for field in fields)


def _version(name: str) -> Version | None:
    """Read ``_name`` back; ``None`` if it is another's: whoever is root can pin there, too."""
    fields = name.removeprefix(pins.PROBE).split("-")
    try:
        device, inode, size, changed_ns, _ = (int(field, 16) for field in fields)
    except ValueError:
        return None
    return Version(device, inode, size, changed_ns)


def _by_program(places: Iterable[Place]) -> dict[tuple[str, int], list[int]]:
    """Offsets by program and what it is told."""
    grouped: dict[tuple[str, int], list[int]] = {}
    for place in places:
        cookie = _NUMBERS[place.library] | place.passed
        grouped.setdefault((place.program, cookie), []).append(place.offset)
    return grouped


def _close(probes: Iterable[Probe]) -> None:
    for probe in probes:
        probe.close()


__all__ = ["Attach", "Inherited", "Probe", "Probes", "attacher", "inherit"]
