# SPDX-License-Identifier: MIT
"""Reads an ELF file as far as is needed to find functions in it (ADR 0007).

The file may be anybody's: it is read, not mapped, because whoever truncates a mapped file kills
its reader (SIGBUS), and the bytes read are counted. Names are looked for with ``bytes.find``, so
the work is a few passes over the string tables however many symbols there are.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

READ_MAX = 192 << 20
"""Bytes read of one file. The largest seen, an orchestrator in Go, has 60 MiB of tables."""
TABLE_MAX = 64 << 20
_PIECE = 1 << 18

# <elf.h>
_IDENT = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_PAIR = struct.Struct("<QQ")
_PT_LOAD, _PT_DYNAMIC, _PF_X = 1, 2, 1
_DT_STRTAB, _DT_SYMTAB, _DT_STRSZ = 5, 6, 10
_STT_FUNC = 2
_SEGMENTS_MAX, _SECTIONS_MAX, _DYNAMIC_MAX = 256, 4096, 4096
_SAME_NAME_MAX, _NAME_MAX = 64, 4096

MACHINES = {62: "x86_64", 183: "aarch64"}


class ElfError(ValueError):
    """Not an ELF file that can be looked into, or one that contradicts itself."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What the loader maps."""

    address: int
    offset: int
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A named part of the file."""

    address: int
    offset: int
    size: int

    def behind(self, start: int) -> Section:
        """What follows its first bytes."""
        return Section(self.address + start, self.offset + start, self.size - start)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function with its size in bytes, 0 if unknown."""

    address: int
    size: int


class Elf:
    """An open ELF file of 64 bits, little-endian."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor`` stays the caller's.

        Raises:
            ElfError: it is something else.
        """
        self._descriptor = descriptor
        self._left = READ_MAX
        head = self._read(0, _HEADER.size)
        ident, _, machine, _, _, ph, sh, _, _, ph_size, ph_count, sh_size, sh_count, names = (
            _HEADER.unpack(head)
        )
        if not ident.startswith(_IDENT) or machine not in MACHINES:
            raise ElfError("not an ELF file of this kind of machine")
        self.machine = MACHINES[machine]
        self.segments: tuple[Segment, ...] = ()
        self._dynamic = Section(0, 0, 0)
        if ph_size == _SEGMENT.size:
            self._take_segments(self._read(ph, min(ph_count, _SEGMENTS_MAX) * ph_size))
        self.sections: dict[bytes, Section] = {}
        if sh_size == _SECTION.size and 0 < sh_count <= _SECTIONS_MAX and names < sh_count:
            self._take_sections(sh, sh_count, names)

    # -- places -------------------------------------------------------------------------

    def read(self, address: int, size: int) -> bytes:
        """What the loader puts at ``address``; less than ``size`` at the end of a segment.

        Raises:
            ElfError: nothing, or too much was read of this file.
        """
        for segment in self.segments:
            within = address - segment.address
            if 0 <= within < segment.size:
                return self._read(segment.offset + within, min(size, segment.size - within))
        raise ElfError(f"nothing is at {address:#x}")

    def code_offset(self, address: int) -> int | None:
        """Where in the file the instruction at ``address`` stands; ``None`` if there is none."""
        for segment in self.segments:
            within = address - segment.address
            if segment.executable and 0 <= within < segment.size:
                return segment.offset + within
        return None

    def contents(self, section: Section) -> bytes:
        """A whole section.

        Raises:
            ElfError: it is larger than any of its kind, or too much was read of this file.
        """
        if section.size > TABLE_MAX:
            raise ElfError(f"a table of {section.size} bytes")
        return self._read(section.offset, section.size)

    def find(self, section: Section, wanted: bytes, start: int, end: int) -> int:
        """As ``bytes.find`` on a section, but nothing behind what is found is read.

        Raises:
            ElfError: too much was read of this file.
        """
        end = min(end, section.size)
        while start < end:
            size = min(_PIECE, end - start)
            at = self._read(section.offset + start, size).find(wanted)
            if at >= 0:
                return start + at
            start += max(1, size - len(wanted) + 1)
            if size < _PIECE:
                break
        return -1

    # -- symbols ------------------------------------------------------------------------

    def tables(self) -> Iterator[SymbolTable]:
        """What programs may link to, then, if the file was not stripped, all symbols."""
        named = [
            (self.sections[symbols], self.sections[strings])
            for symbols, strings in ((b".dynsym", b".dynstr"), (b".symtab", b".strtab"))
            if symbols in self.sections and strings in self.sections
        ]
        for symbols, strings in named or self._loaded_tables():
            yield SymbolTable(self.contents(symbols), self.contents(strings))

    def _loaded_tables(self) -> list[tuple[Section, Section]]:
        """Without section headers, the dynamic linker's way to the symbols is left."""
        raw = self._read(self._dynamic.offset, min(self._dynamic.size, _DYNAMIC_MAX * _PAIR.size))
        found = dict(_PAIR.iter_unpack(raw[: len(raw) - len(raw) % _PAIR.size]))
        symbols, strings = found.get(_DT_SYMTAB, 0), found.get(_DT_STRTAB, 0)
        # The number of symbols is said nowhere, but linkers put the names behind them.
        if not 0 < symbols < strings:
            return []
        return [
            (self._place(symbols, strings - symbols), self._place(strings, found.get(_DT_STRSZ, 0)))
        ]

    def _place(self, address: int, size: int) -> Section:
        for segment in self.segments:
            within = address - segment.address
            if 0 <= within < segment.size:
                return Section(address, segment.offset + within, min(size, segment.size - within))
        raise ElfError(f"nothing is at {address:#x}")

    # -- reading ------------------------------------------------------------------------

    def _read(self, offset: int, size: int) -> bytes:
        self._left -= size
        if self._left < 0 or offset < 0 or size < 0:
            raise ElfError("more than is read of one file")
        try:
            data = os.pread(self._descriptor, size, offset)
        except (OSError, OverflowError) as error:
            raise ElfError(f"not readable: {error}") from error
        if len(data) < size:
            raise ElfError("the file ends too early")
        return data

    def _take_segments(self, raw: bytes) -> None:
        loaded = []
        for kind, flags, offset, address, _, size, _, _ in _SEGMENT.iter_unpack(raw):
            if kind == _PT_LOAD:
                loaded.append(Segment(address, offset, size, bool(flags & _PF_X)))
            elif kind == _PT_DYNAMIC:
                self._dynamic = Section(address, offset, size)
        self.segments = tuple(loaded)

    def _take_sections(self, at: int, count: int, names_index: int) -> None:
        headers = list(_SECTION.iter_unpack(self._read(at, count * _SECTION.size)))
        _, _, _, _, names_at, names_size, *_ = headers[names_index]
        names = self.contents(Section(0, names_at, names_size))
        for name, _, _, address, offset, size, *_ in headers:
            end = names.find(b"\0", name)
            self.sections.setdefault(names[name:end], Section(address, offset, size))


class SymbolTable:
    """Symbols with their names."""

    def __init__(self, symbols: bytes, names: bytes) -> None:
        self._symbols = symbols[: len(symbols) - len(symbols) % _SYMBOL.size]
        self._names = names
        self._starts: list[int] | None = None

    def function(self, name: bytes) -> Symbol | None:
        """The function of that name that is defined in the file."""
        # A name may be the end of another one: linkers keep those once.
        return next(self._functions(_occurrences(self._names, name + b"\0")), None)

    def matching(self, part: bytes, other: bytes) -> tuple[Symbol, ...]:
        """The functions whose names hold ``part`` and ``other``."""
        starts = []
        for at in _occurrences(self._names, part):
            start = self._names.rfind(b"\0", max(0, at - _NAME_MAX), at) + 1
            end = self._names.find(b"\0", at, at + _NAME_MAX)
            if start and other in self._names[start : max(start, end)]:
                starts.append(start)
        return tuple(self._functions(starts))

    def _functions(self, starts: Iterable[int]) -> Iterator[Symbol]:
        """Those of these names that are defined in the file."""
        for start in starts:
            if self._starts is None:
                self._starts = memoryview(self._symbols).cast("I")[:: _SYMBOL.size // 4].tolist()
            try:
                index = self._starts.index(start)
            except ValueError:
                continue
            _, info, _, section, address, size = _SYMBOL.unpack_from(
                self._symbols, index * _SYMBOL.size
            )
            if section and address and info & 0xF == _STT_FUNC:
                yield Symbol(address, size)


def _occurrences(data: bytes, wanted: bytes) -> Iterator[int]:
    at = -1
    for _ in range(_SAME_NAME_MAX):
        at = data.find(wanted, at + 1)
        if at < 0:
            return
        yield at


__all__ = ["Elf", "ElfError", "Section", "Segment", "Symbol", "SymbolTable"]
