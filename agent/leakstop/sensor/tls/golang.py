# SPDX-License-Identifier: MIT
"""Functions of a Go program by its own table of them, which ``-ldflags=-s -w`` leaves in.

The runtime needs it for its stack traces (runtime/symtab.go, debug/gosym/pclntab.go): a header,
then names, then for each function its entry and the place of its name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from leakstop.sensor.tls.elf import Elf, ElfError, Section

_SECTIONS = (b".gopclntab", b".data.rel.ro.gopclntab", b".data.rel.ro")
"""The C linker makes the last of the one before it."""
_BUILD_INFO = b".go.buildinfo"
_POINTER = 8
_RELA = struct.Struct("<QQQ")
_TRIES = 16


@dataclass(frozen=True, slots=True)
class _Layout:
    """What differs between the versions of the table."""

    first_offset: int
    """Which of the header's fields is the place of the names."""
    pair: struct.Struct
    """An entry of the table of functions: its code, its description."""
    entry: struct.Struct
    """The first field of a description: its code. Its name follows."""
    has_start: bool
    """Code is told by its distance from ``textStart``."""


_OLD = _Layout(2, struct.Struct("<QQ"), struct.Struct("<Q"), has_start=False)
_NEW = _Layout(3, struct.Struct("<II"), struct.Struct("<I"), has_start=True)
_PADDING = b"\0\0"
_VERSIONS = ((0xFFFFFFF1, _NEW), (0xFFFFFFF0, _NEW), (0xFFFFFFFA, _OLD))
"""Of Go 1.20 and on, of 1.18, of 1.16."""
_LAYOUTS = {
    version.to_bytes(4, "little") + _PADDING + bytes((smallest, _POINTER)): layout
    for version, layout in _VERSIONS
    for smallest in (1, 4)
}
"""By the beginning of the header: version, padding, size of the smallest instruction (x86_64,
aarch64) and of a pointer."""
_COUNTS_AT, _TEXT_START = 8, 2
_FIELDS = struct.Struct("<8Q")
_HEAD_SIZE = _COUNTS_AT + _FIELDS.size
ALL = 1 << 63


def is_go(elf: Elf) -> bool:
    """Whether the Go tool chain made it."""
    return _BUILD_INFO in elf.sections or any(name in elf.sections for name in _SECTIONS[:2])


def find(elf: Elf, name: bytes) -> int | None:
    """Address of the function ``name``; ``None`` if the table has none, or there is no table.

    Raises:
        ElfError: the table contradicts itself.
    """
    section = next((elf.sections[name] for name in _SECTIONS if name in elf.sections), None)
    if section is None or not is_go(elf):
        return None
    start = _start(elf, section)
    if start is None:
        return None
    try:
        return Table(elf, section.behind(start)).address_of(name)
    except struct.error as error:
        raise ElfError(f"a torn table of functions: {error}") from error


def _start(elf: Elf, section: Section) -> int | None:
    for magic in _LAYOUTS:
        if elf.read(section.address, len(magic)) == magic:
            return 0
    # The C linker has joined it to other data.
    found = (elf.find(section, magic, 0, section.size) for magic in _LAYOUTS)
    return next((at for at in found if at >= 0), None)


class Table:
    """The table of functions. It may have 50 MiB, and what is looked for mostly stands early in
    it: packages come in the order of their dependencies, those of the language first."""

    def __init__(self, elf: Elf, section: Section) -> None:
        self._elf = elf
        self._section = section
        head = elf.read(section.address, _HEAD_SIZE)
        self._layout = _LAYOUTS[head[:_COUNTS_AT]]
        self._fields = _FIELDS.unpack_from(head, _COUNTS_AT)

    def address_of(self, name: bytes) -> int | None:
        """Where a function begins."""
        first = self._layout.first_offset
        names_at, names_end, functions_at = (self._fields[first + n] for n in (0, 1, 4))
        at = self._find(b"\0" + name + b"\0", names_at, names_end) + 1
        if not at:
            return None
        wanted = (at - names_at).to_bytes(4, "little")
        found = functions_at
        for _ in range(_TRIES):
            found = self._find(wanted, found + 1)
            description = found - self._layout.entry.size
            if description < functions_at:
                return None
            raw = self._elf.read(self._section.address + description, self._layout.entry.size)
            (code,) = self._layout.entry.unpack(raw)
            pair = self._layout.pair.pack(code, description - functions_at)
            if self._find(pair, functions_at, description) >= 0:
                return int(code) + (self._text_start() if self._layout.has_start else 0)
        return None

    def _find(self, wanted: bytes, start: int, end: int = ALL) -> int:
        return self._elf.find(self._section, wanted, start, end)

    def _text_start(self) -> int:
        """Where the code begins: in the header, or in that field's relocation, or at ``.text``."""
        if start := int(self._fields[_TEXT_START]):
            return start
        if relocations := self._elf.sections.get(b".rela.dyn"):
            field = self._section.address + _COUNTS_AT + _TEXT_START * _POINTER
            at = self._elf.find(relocations, field.to_bytes(8, "little"), 0, ALL)
            if at >= 0 and at % _RELA.size == 0:
                return int(_RELA.unpack(self._elf.read(relocations.address + at, _RELA.size))[2])
        if text := self._elf.sections.get(b".text"):
            return text.address
        raise ElfError("code without a start")


__all__ = ["find", "is_go"]
