# SPDX-License-Identifier: MIT
"""Which functions of a file are given plaintext, and which program looks at each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

from leakstop.model.channel import Library
from leakstop.sensor.tls import golang
from leakstop.sensor.tls.code import (
    C_ARGUMENTS,
    GO_ARGUMENTS,
    LOOK,
    calls,
    cheap_place,
    keeps_fourth,
)
from leakstop.sensor.tls.elf import Elf, ElfError, Symbol, SymbolTable

GO_UNKNOWN = "a Go program whose functions have no names"
RUST_UNKNOWN = "a Rust program (rustls) without symbols"
STATIC_UNKNOWN = "OpenSSL within the program, without symbols"
UNKNOWN = "no TLS library that is known"

_WRITE = "on_tls_write"
_THIN = 64
"""Bytes of a function that does nothing but pass its arguments on."""
_BODY_MAX = 1024


class Passed(IntFlag):
    """How a function is given what it writes. ``bpf/leakstop.h`` has these numbers."""

    AS_USUAL = 0
    """The object, the address, how many bytes."""
    BEHIND_RESULT = 0x100
    """Behind the address of what it returns."""
    IN_PIECES = 0x200
    """The object, the address of pieces as writev(2) has them, how many pieces."""


@dataclass(frozen=True, slots=True)
class Place:
    """An instruction of a file, and who looks when it is reached."""

    offset: int
    """In the file."""
    program: str
    """Of the data plane."""
    library: Library
    passed: Passed = Passed.AS_USUAL


@dataclass(frozen=True, slots=True)
class _Family:
    """The functions of one library. Found are all of them, once the first, the gate, is."""

    library: Library
    functions: tuple[tuple[bytes, str], ...]


# gnutls_record_send_file ends in gnutls_record_send; SSL_sendfile needs kernel TLS, which is
# refused.
_FAMILIES = (
    _Family(
        Library.OPENSSL,
        (
            (b"SSL_write", _WRITE),
            (b"SSL_write_ex", _WRITE),
            (b"SSL_write_ex2", _WRITE),
            (b"SSL_write_early_data", _WRITE),
            (b"SSL_ctrl", "on_tls_ctrl"),
            (b"SSL_set_tlsext_host_name", "on_tls_host"),  # BoringSSL; OpenSSL's is a macro
            (b"SSL_free", "on_tls_free"),
        ),
    ),
    _Family(
        Library.GNUTLS,
        (
            (b"gnutls_record_send", _WRITE),
            (b"gnutls_record_send2", _WRITE),
            (b"gnutls_record_send_range", _WRITE),
            (b"gnutls_record_send_early_data", _WRITE),
            (b"gnutls_server_name_set", "on_gnutls_host"),
            (b"gnutls_deinit", "on_tls_free"),
        ),
    ),
    # PR_Write of NSPR writes to anything: that it is TLS, SSL_SetURL of NSS tells.
    _Family(Library.NSS, ((b"SSL_SetURL", "on_tls_host"),)),
    _Family(
        Library.NSS,
        ((b"PR_Write", _WRITE), (b"PR_Send", _WRITE), (b"PR_Close", "on_tls_free")),
    ),
)

_GO_WRITE = b"crypto/tls.(*Conn).Write"

# What rustls calls through a table of functions, so that it is never inlined; in older ones
# what programs call. Both ways in which rustc writes names: the old one, and RFC 2603's.
_RUST_WRITES = (
    (b"PlaintextSink$GT$5write17h", b"PlaintextSink$GT$14write_vectored17h", b"rustls"),
    (b"13PlaintextSink5write", b"13PlaintextSink14write_vectored", b"6rustls"),
    (
        b"Writer$u20$as$u20$std..io..Write$GT$5write17h",
        b"Writer$u20$as$u20$std..io..Write$GT$14write_vectored17h",
        b"rustls",
    ),
)
_MARKS = ((b"/rustls-", RUST_UNKNOWN), (b"ssl/ssl_lib.c", STATIC_UNKNOWN))


def find(elf: Elf) -> tuple[Place, ...]:
    """Where to look in a file; nothing if it has no TLS of its own that is known.

    Raises:
        ElfError: the file contradicts itself.
    """
    if places := tuple(_of_go(elf)):
        return places
    for table in elf.tables():
        if places := (*_of_libraries(elf, table), *_of_rustls(elf, table)):
            return places
    return ()


def why_unknown(elf: Elf) -> str:
    """In which way a program is opaque in which nothing was found.

    Raises:
        ElfError: the file contradicts itself.
    """
    if golang.is_go(elf):
        return GO_UNKNOWN
    if constants := elf.sections.get(b".rodata"):
        text = elf.contents(constants)
        for mark, why in _MARKS:
            if mark in text:
                return why
    return UNKNOWN


def _of_libraries(elf: Elf, table: SymbolTable) -> Iterator[Place]:
    for family in _FAMILIES:
        gate, *_ = family.functions[0]
        if table.function(gate) is None:
            continue
        found = {
            name: symbol
            for name, _ in family.functions
            if (symbol := table.function(name)) is not None
        }
        programs = dict(family.functions)
        for name, symbol in _innermost(elf, found).items():
            yield from _place(elf, symbol.address, programs.get(name, _WRITE), family.library)


def _innermost(elf: Elf, found: dict[bytes, Symbol]) -> dict[bytes, Symbol]:
    """Leave out what only calls another one: a write is to be seen once."""
    shared = _shared_callee(elf, found)
    if shared is not None:
        rest = {name: found[name] for name in found if not name.startswith(b"SSL_write")}
        return {b"": Symbol(shared, 0), **rest}
    send, early = found.get(b"gnutls_record_send"), found.get(b"SSL_write_early_data")
    outer = set()
    if send and b"gnutls_record_send2" in found and 0 < send.size <= _THIN:
        outer.add(b"gnutls_record_send")
    if early and b"SSL_write_ex" in found and found[b"SSL_write_ex"].address in _calls(elf, early):
        outer.add(b"SSL_write_early_data")
    return {name: found[name] for name in found if name not in outer}


def _shared_callee(elf: Elf, found: dict[bytes, Symbol]) -> int | None:
    """What SSL_write and SSL_write_ex have in common, with the same first three arguments.

    BIO_write on a BIO of TLS calls it as well, past both of them. A thin function has nothing
    else to call; where it is not thin, the compiler has put the callee into both.
    """
    write = found.get(b"SSL_write")
    for name in (b"SSL_write_ex", b"SSL_write_ex2"):
        extended = found.get(name)
        if write is None or extended is None or not 0 < extended.size <= _THIN:
            continue
        shared = [
            address
            for address in _calls(elf, write) & _calls(elf, extended)
            if elf.code_offset(address) is not None
            and cheap_place(elf.read(address, LOOK), C_ARGUMENTS) is not None
        ]
        if len(shared) == 1:
            return shared[0]
    return None


def _calls(elf: Elf, symbol: Symbol) -> set[int]:
    if elf.machine != "x86_64":
        return set()
    return calls(elf.read(symbol.address, min(symbol.size, _BODY_MAX)), symbol.address)


def _of_rustls(elf: Elf, table: SymbolTable) -> Iterator[Place]:
    for whole, pieces, crate in _RUST_WRITES:
        wholes, in_pieces = table.matching(whole, crate), table.matching(pieces, crate)
        for symbols, passed in ((wholes, Passed.AS_USUAL), (in_pieces, Passed.IN_PIECES)):
            for symbol in symbols:
                # From 1.61 on, and until 2024, rustc returned a Result<usize, io::Error> where the
                # caller wants it (rust-lang/rust, issue 97540), and that is the first argument.
                behind = elf.machine == "x86_64" and keeps_fourth(elf.read(symbol.address, LOOK))
                how = passed | (Passed.BEHIND_RESULT if behind else 0)
                yield from _place(elf, symbol.address, _WRITE, Library.RUSTLS, how)
        if wholes:
            return


def _of_go(elf: Elf) -> Iterator[Place]:
    address = golang.find(elf, _GO_WRITE)
    if address is None or elf.code_offset(address) is None:
        return
    # Before Go 1.17 arguments were passed on the stack, and functions began in another way.
    if elf.machine == "x86_64" and not cheap_place(elf.read(address, LOOK), GO_ARGUMENTS):
        return
    yield from _place(elf, address, "on_go_write", Library.GO)


def _place(
    elf: Elf, address: int, program: str, library: Library, passed: Passed = Passed.AS_USUAL
) -> Iterator[Place]:
    offset = elf.code_offset(address)
    if offset is None:
        return
    if elf.machine == "x86_64":
        arguments = GO_ARGUMENTS if library is Library.GO else C_ARGUMENTS
        offset += cheap_place(elf.read(address, LOOK), arguments) or 0
    yield Place(offset, program, library, passed)


__all__ = ["UNKNOWN", "ElfError", "Passed", "Place", "find", "why_unknown"]
