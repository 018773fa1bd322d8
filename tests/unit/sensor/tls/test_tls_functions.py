# SPDX-License-Identifier: MIT
"""Functions are found in files that compilers make now, and hostile ones do no harm."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from leakstop.model.channel import Library
from leakstop.sensor.tls import elf
from leakstop.sensor.tls.elf import Elf, ElfError
from leakstop.sensor.tls.files import opened
from leakstop.sensor.tls.functions import (
    GO_UNKNOWN,
    RUST_UNKNOWN,
    UNKNOWN,
    Passed,
    Place,
    find,
    why_unknown,
)

# Thin functions around one that does the work, as OpenSSL has them.
OPENSSL = """
#include <stddef.h>
static __attribute__((noinline)) int write_internal(void *s, const void *b, size_t n, size_t *w)
{
	__asm__ volatile("" ::: "rbx", "memory");
	*w = n + (s == b);
	return 1;
}
int SSL_write(void *s, const void *b, int n)
{
	size_t w;
	if (n < 0) return -1;
	return write_internal(s, b, n, &w) > 0 ? (int)w : -1;
}
int SSL_write_ex(void *s, const void *b, size_t n, size_t *w)
{
	int r = write_internal(s, b, n, w);
	return r < 0 ? 0 : r;
}
long SSL_ctrl(void *s, int c, long l, void *p) { return c + l + (s == p); }
void SSL_free(void *s) { if (s) *(char *)s = 0; }
int main(void) { return 0; }
"""
CALLERS = "int SSL_write(void *, void *, int); int main(void) { return SSL_write(0, 0, 0); }"
RUST_CONN = """
pub mod conn {
    use std::io::{IoSlice, Result};
    pub trait PlaintextSink {
        fn write(&mut self, buf: &[u8]) -> Result<usize>;
        fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Result<usize>;
    }
    pub struct ConnectionCommon<T> { pub at: T }
    impl<T> PlaintextSink for ConnectionCommon<T> {
        #[inline(never)]
        fn write(&mut self, buf: &[u8]) -> Result<usize> {
            unsafe { std::ptr::read_volatile(&buf) };
            Ok(buf.len())
        }
        #[inline(never)]
        fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Result<usize> {
            unsafe { std::ptr::read_volatile(&bufs) };
            Ok(bufs.iter().map(|buf| buf.len()).sum())
        }
    }
}
"""
RUST_MAIN = """
use rustls::conn::{ConnectionCommon, PlaintextSink};
fn main() {
    let mut conn = ConnectionCommon { at: 1u8 };
    let mut sink: &mut dyn PlaintextSink = &mut conn;
    sink = unsafe { std::ptr::read_volatile(&mut sink) };
    sink.write(b"/rustls-0.23.1/src/conn.rs").unwrap();
    sink.write_vectored(&[std::io::IoSlice::new(b"more")]).unwrap();
}
"""
GO = """package main
import "crypto/tls"
func main() { c, _ := tls.Dial("tcp", "localhost:1", nil); c.Write(nil) }
"""
GO_BUILDS = {
    "symbols": ["-buildvcs=false"],
    "stripped": ["-ldflags=-s -w"],
    "pie": ["-ldflags=-s -w", "-buildmode=pie"],
    "cgo": ["-ldflags=-s -w -linkmode=external", "-buildmode=pie"],
}

x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="not run: decodes x86_64")


@contextmanager
def reading(path: Path) -> Iterator[Elf]:
    with path.open("rb") as file:
        yield Elf(file.fileno())


def places(path: Path) -> dict[str, list[Place]]:
    """What is found in a file, by program."""
    with reading(path) as image:
        found: dict[str, list[Place]] = {}
        for place in find(image):
            found.setdefault(place.program, []).append(place)
        return found


def compile_c(source: str, program: Path, *options: str) -> Path:
    text = program.with_suffix(".c")
    text.write_text(source)
    subprocess.run(["gcc", "-O2", "-w", *options, "-o", program, text], check=True)
    return program


def offsets(program: Path) -> dict[str, int]:
    """Functions with their place in the file, as binutils tell."""
    headers = subprocess.run(
        ["readelf", "-lW", program], check=True, capture_output=True, text=True
    ).stdout
    loads = re.findall(r"LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+)", headers)
    symbols = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    found = {}
    for address, name in re.findall(r"^(\w+) [tT] (\S+)$", symbols, re.MULTILINE):
        for offset, start, size in loads:
            within = int(address, 16) - int(start, 16)
            if 0 <= within < int(size, 16):
                found[name] = int(offset, 16) + within
    return found


def instructions(program: Path, function: str) -> list[int]:
    """Where the instructions of a function begin, from its start, as binutils tell."""
    text = subprocess.run(
        ["objdump", "-d", f"--disassemble={function}", program],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    starts = [int(found, 16) for found in re.findall(r"^ +(\w+):\t", text, re.MULTILINE)]
    return [start - starts[0] for start in starts]


@x86_64
def test_the_common_callee_is_found_and_the_functions_left_out(tmp_path: Path) -> None:
    program = compile_c(OPENSSL, tmp_path / "a", "-fcf-protection=full")
    known = offsets(program)
    found = places(program)
    (write,) = found["on_tls_write"]
    assert write.offset - known["write_internal"] in instructions(program, "write_internal")[:4]
    (free,) = found["on_tls_free"]
    assert free.offset - known["SSL_free"] in instructions(program, "SSL_free")[1:4], "endbr64"
    assert {name: len(each) for name, each in found.items()} == {
        "on_tls_write": 1,
        "on_tls_ctrl": 1,
        "on_tls_free": 1,
    }
    assert write.library is Library.OPENSSL


def test_boringssl_names_its_host_with_a_function_of_its_own(tmp_path: Path) -> None:
    names = "int SSL_set_tlsext_host_name(void *s, const char *n) { return s && n; }"
    source = re.sub("long SSL_ctrl.*", names, OPENSSL)
    found = {
        program: len(each) for program, each in places(compile_c(source, tmp_path / "a")).items()
    }
    assert found == {"on_tls_write": 1, "on_tls_host": 1, "on_tls_free": 1}


@x86_64
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O3", "-Os"])
@pytest.mark.parametrize("protection", ["none", "full"])
def test_every_place_is_an_instruction(tmp_path: Path, level: str, protection: str) -> None:
    program = compile_c(OPENSSL, tmp_path / "a", level, f"-fcf-protection={protection}")
    known = offsets(program)
    for place in (place for each in places(program).values() for place in each):
        name, start = max(
            ((n, o) for n, o in known.items() if o <= place.offset), key=lambda pair: pair[1]
        )
        assert place.offset - start in instructions(program, name), (name, level)


def test_inlined_functions_are_taken_themselves(tmp_path: Path) -> None:
    source = OPENSSL.replace("static __attribute__((noinline))", "static inline")
    assert len(places(compile_c(source, tmp_path / "a"))["on_tls_write"]) == 2


def test_a_library_exports_what_it_has_when_stripped(tmp_path: Path) -> None:
    whole = compile_c(OPENSSL, tmp_path / "a.so", "-shared", "-fPIC")
    before = places(whole)
    subprocess.run(["strip", whole], check=True)
    assert places(whole) == before != {}


def test_without_section_headers_the_dynamic_linkers_way_is_left(tmp_path: Path) -> None:
    whole = compile_c(OPENSSL, tmp_path / "a.so", "-shared", "-fPIC")
    before = places(whole)
    data = bytearray(whole.read_bytes())
    data[0x28:0x30], data[0x3C:0x40] = bytes(8), bytes(4)
    whole.write_bytes(data)
    assert places(whole) == before != {}


def test_who_only_calls_has_none(tmp_path: Path) -> None:
    library = compile_c(OPENSSL, tmp_path / "libx.so", "-shared", "-fPIC")
    assert places(compile_c(CALLERS, tmp_path / "b", str(library))) == {}


def test_a_name_that_ends_another_is_none(tmp_path: Path) -> None:
    source = "int my_SSL_write(void) { return 1; } int main(void) { return my_SSL_write(); }"
    assert places(compile_c(source, tmp_path / "a")) == {}


@pytest.mark.parametrize("build", sorted(GO_BUILDS))
def test_go(tmp_path: Path, build: str) -> None:
    (tmp_path / "main.go").write_text(GO)
    program = tmp_path / "main"
    subprocess.run(
        ["go", "build", *GO_BUILDS[build], "-o", program, tmp_path / "main.go"],
        check=True,
        env=os.environ | {"GO111MODULE": "off", "GOFLAGS": ""},
    )
    assert {name: len(each) for name, each in places(program).items()} == {"on_go_write": 1}
    if build == "symbols" and os.uname().machine == "x86_64":
        start = offsets(program)["crypto/tls.(*Conn).Write"]
        assert 0 < places(program)["on_go_write"][0].offset - start < 20


def test_go_without_tls_is_not_taken_for_covered(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\nfunc main() {}\n")
    subprocess.run(
        ["go", "build", "-ldflags=-s -w", "-o", tmp_path / "main", tmp_path / "main.go"],
        check=True,
        env=os.environ | {"GO111MODULE": "off", "GOFLAGS": ""},
    )
    with reading(tmp_path / "main") as image:
        assert (find(image), why_unknown(image)) == ((), GO_UNKNOWN)


@x86_64
@pytest.mark.parametrize("mangling", ["legacy", "v0"])
@pytest.mark.parametrize("compiler", ["rustc", "/usr/bin/rustc"])
def test_rust(tmp_path: Path, mangling: str, compiler: str) -> None:
    """With a crate of that name: the real one is not to be had everywhere."""
    version = subprocess.check_output([compiler, "--version"], text=True).split()[1]
    flags = ["-O", "--edition=2021", "-Zunstable-options", f"-Csymbol-mangling-version={mangling}"]
    environment = os.environ | {"RUSTC_BOOTSTRAP": "1"}
    for name, text, more in (
        ("rustls", RUST_CONN, ["--crate-type=rlib"]),
        ("main", RUST_MAIN, [f"--extern=rustls={tmp_path}/librustls.rlib"]),
    ):
        (tmp_path / f"{name}.rs").write_text(text)
        subprocess.run(
            [compiler, *flags, *more, f"--out-dir={tmp_path}", tmp_path / f"{name}.rs"],
            check=True,
            env=environment,
        )
    writes = places(tmp_path / "main")["on_tls_write"]
    assert {write.library for write in writes} == {Library.RUSTLS}
    behind = 61 <= int(version.split(".")[1]) < 78
    result = Passed.BEHIND_RESULT if behind else Passed.AS_USUAL
    assert [write.passed for write in writes] == [result, result | Passed.IN_PIECES]
    subprocess.run(["strip", tmp_path / "main"], check=True)
    with reading(tmp_path / "main") as image:
        assert (find(image), why_unknown(image)) == ((), RUST_UNKNOWN)


# -- hostile files --------------------------------------------------------------------------


def attempt(path: Path) -> None:
    """Whatever it is, it is nothing or it is found; nothing else happens."""
    with opened(path) as file:
        assert file is not None
        for place in file.places():
            assert 0 <= place.offset < path.stat().st_size
        assert file.why_unknown()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("library")
    return compile_c(OPENSSL, directory / "a.so", "-shared", "-fPIC").read_bytes()


def test_truncated(tmp_path: Path, library: bytes) -> None:
    path = tmp_path / "a"
    for size in (*range(200), *range(200, len(library), 97)):
        path.write_bytes(library[:size])
        attempt(path)


def test_mutated(tmp_path: Path, library: bytes) -> None:
    path, chance = tmp_path / "a", random.Random(4)
    headers = int.from_bytes(library[0x28:0x30], "little")
    for _ in range(1500):
        data = bytearray(library)
        for _ in range(chance.randint(1, 8)):
            at = chance.choice(
                [*map(chance.randrange, (0x200, len(data))), chance.randrange(headers, len(data))]
            )
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        path.write_bytes(data)
        attempt(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.__setitem__(slice(0x36, 0x38), b"\xff\xff"),  # size of a segment
        lambda data: data.__setitem__(slice(0x38, 0x3A), b"\xff\xff"),  # how many
        lambda data: data.__setitem__(slice(0x3C, 0x3E), b"\xff\xff"),  # how many sections
        lambda data: data.__setitem__(slice(0x28, 0x30), b"\xff" * 8),  # where those are
        lambda data: data.__setitem__(slice(0x20, 0x28), b"\xff" * 8),
    ],
)
def test_headers_that_lie(
    tmp_path: Path, library: bytes, damage: Callable[[bytearray], None]
) -> None:
    data = bytearray(library)
    damage(data)
    (tmp_path / "a").write_bytes(data)
    attempt(tmp_path / "a")


def test_no_more_is_read_than_is_allowed(
    tmp_path: Path, library: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(library)
    monkeypatch.setattr(elf, "READ_MAX", 2048)
    with pytest.raises(ElfError, match="more than"), reading(tmp_path / "a") as image:
        find(image)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "nothing"):
        with opened(path) as file:
            assert file is None


def test_other_machines_are_not_looked_into(tmp_path: Path, library: bytes) -> None:
    data = bytearray(library)
    data[4] = 1  # 32 bits
    (tmp_path / "a").write_bytes(data)
    with opened(tmp_path / "a") as file:
        assert file is not None
        assert (file.places(), file.why_unknown()) == ((), UNKNOWN)


def test_descriptors_are_given_back(tmp_path: Path, library: bytes) -> None:
    (tmp_path / "a").write_bytes(library)
    with closing(os.scandir("/proc/self/fd")) as entries:
        before = len(list(entries))
    for _ in range(20):
        attempt(tmp_path / "a")
    assert len(os.listdir("/proc/self/fd")) == before
