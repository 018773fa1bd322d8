# SPDX-License-Identifier: MIT
"""Which files carry probes: one set for each inode, renewed when the file has changed."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from leakstop.bpf import uprobe
from leakstop.bpf.libbpf import BpfError
from leakstop.bpf.uprobe import Uprobes
from leakstop.model.channel import Library
from leakstop.sensor.tls.files import File, Version
from leakstop.sensor.tls.functions import Place

_KNOWN_MAX = 65_536
_COOKIES = {library: number for number, library in enumerate(Library)}


class Probe(Protocol):
    """A program that looks at one place of a file."""

    def close(self) -> None:
        """Look no longer."""


Attach = Callable[[Sequence[Place], Path], tuple[Probe, ...]]
"""Attaches to all these places of a file, or to none."""


@dataclass(frozen=True, slots=True)
class _Known:
    version: Version
    probes: tuple[Probe, ...]


class Probes:
    """Puts programs where plaintext passes."""

    def __init__(self, attach: Attach) -> None:
        self._attach = attach
        self._known: dict[tuple[int, int], _Known] = {}

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
        self._probe = probe
        self._path = path
        try:
            probe.pin(path)
        except BpfError:
            probe.close()
            raise

    def close(self) -> None:
        """Detach. The kernel waits for all processors before it lets go of a probe, 0.1 s each:
        of a pin it does so by itself, later."""
        self._probe.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def attacher(uprobes: Uprobes, directory: Path) -> Attach:
    """What attaches ``uprobes``, and pins them below ``directory``."""
    numbers = itertools.count()

    def attach(places: Sequence[Place], path: Path) -> tuple[Probe, ...]:
        pinned: list[PinnedProbe] = []
        try:
            for (program, library), offsets in _by_program(places).items():
                for probe in uprobes.attach(program, path, offsets, _COOKIES[library]):
                    pinned.append(  # noqa: PERF401 - kept on failure
                        PinnedProbe(probe, directory / f"tls-{next(numbers)}")
                    )
        except BpfError:
            _close(pinned)
            raise
        return tuple(pinned)

    return attach


def _by_program(places: Iterable[Place]) -> dict[tuple[str, Library], list[int]]:
    grouped: dict[tuple[str, Library], list[int]] = {}
    for place in places:
        grouped.setdefault((place.program, place.library), []).append(place.offset)
    return grouped


def _close(probes: Iterable[Probe]) -> None:
    for probe in probes:
        probe.close()


__all__ = ["Attach", "Probe", "Probes", "attacher"]
