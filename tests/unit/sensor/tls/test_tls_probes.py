# SPDX-License-Identifier: MIT
"""One set of probes for each file, and the gate that waits for them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leakstop.bpf.libbpf import BpfError
from leakstop.model.channel import Library
from leakstop.sensor.tls import files
from leakstop.sensor.tls import probes as module
from leakstop.sensor.tls.files import opened
from leakstop.sensor.tls.functions import Place
from leakstop.sensor.tls.gate import Gate
from leakstop.sensor.tls.installed import libraries, programs
from leakstop.sensor.tls.mappings import Mapped, mapped_by
from leakstop.sensor.tls.probes import Probes, inherit

PLACE = Place(64, "on_tls_write", Library.OPENSSL)


@dataclass
class Attached:
    """Counts instead of attaching."""

    refuse: bool = False
    made: int = 0
    closed: int = 0

    def __call__(self, places: Sequence[Place], path: Path) -> tuple[Attached, ...]:
        assert set(places) == {PLACE}
        assert path.read_bytes()
        if self.refuse:
            raise BpfError("no more")
        self.made += 1
        return (self,)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """What is found in every file."""
    places = [PLACE]
    monkeypatch.setattr(files.File, "places", lambda self: tuple(places))
    return places


def cover(probes: Probes, path: Path) -> bool:
    with opened(path) as file:
        assert file is not None
        return probes.cover(file)


def test_one_for_each_inode(tmp_path: Path, found: list[Place]) -> None:
    attach = Attached()
    probes = Probes(attach)
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "c").write_text("c")
    assert all(cover(probes, tmp_path / name) for name in "abc")
    assert attach.made == 2
    probes.close()
    assert attach.closed == 2


def test_a_changed_file_gets_new_ones(tmp_path: Path, found: list[Place]) -> None:
    attach = Attached()
    probes = Probes(attach)
    (tmp_path / "a").write_text("a")
    assert cover(probes, tmp_path / "a")
    (tmp_path / "a").write_text("other")
    assert cover(probes, tmp_path / "a")
    assert (attach.made, attach.closed) == (2, 1)
    found.clear()
    (tmp_path / "a").write_text("nothing")
    assert not cover(probes, tmp_path / "a")
    assert (attach.made, attach.closed) == (2, 2)


def test_what_is_refused_is_not_tried_again(tmp_path: Path, found: list[Place]) -> None:
    attach = Attached(refuse=True)
    (tmp_path / "a").write_text("a")
    probes = Probes(attach)
    with pytest.raises(BpfError):
        cover(probes, tmp_path / "a")
    assert not cover(probes, tmp_path / "a")


@dataclass
class Map:
    """A map of the kernel's."""

    entries: dict[bytes, bytes] = field(default_factory=dict)

    def update(self, key: bytes, value: bytes) -> None:
        self.entries[key] = value


def test_what_was_pinned_is_found_again_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's pins are left alone: root can put some there."""

    class Library:
        def attempt(self, *_: object) -> int:
            return os.open(os.devnull, os.O_RDONLY)

    version = files.Version.of(os.stat(__file__))
    ours = [f"{module._name(version)}{number:x}" for number in (10, 11)]
    for name in (*ours, "tls-", "tls-zz", "tls-1-2-3", "tls-1-2-3-4-5-6", "on_egress"):
        (tmp_path / name).touch()
    monkeypatch.setattr(module, "library", Library)
    found = inherit(tmp_path)
    assert {version: len(probes) for version, probes in found.items()} == {version: 2}
    for probe in found[version]:
        probe.close()
    assert not {path.name for path in tmp_path.iterdir()}.intersection(ours)


def test_the_gate_holds_and_releases() -> None:
    images, looked = Map(), Map()
    gate = Gate(images, looked)
    gate.open()
    assert list(looked.entries) == [bytes(16)]
    program = Mapped(5, 7, (254, 0, 11), 0, 4096, b"/usr/bin/tool")
    library = Mapped(6, 7, (254, 0, 12), 0, 4096, b"/usr/lib/libtool.so.1")
    gate.release(library)  # known since long: no process waits for it
    assert len(looked.entries) == 1
    gate.hold(library)
    assert images.entries == {(7).to_bytes(4, "little"): bytes([12] + [0] * 7 + [6] + [0] * 7)}
    gate.release(program)
    del looked.entries[bytes(16)]  # as the kernel does when somebody waited in vain
    gate.release(library)
    assert len(looked.entries) == 3


def test_a_process_tells_what_it_has_mapped() -> None:
    own = Path("/proc/self/exe").resolve()
    found = {
        mapped.path.decode(): mapped
        for mapped in mapped_by(int(Path("/proc/self").readlink().name))
    }
    assert str(own) in found
    assert own.stat().st_ino == found[str(own)].inode
    assert mapped_by(1 << 22) == []


def test_a_path_makes_up_no_line(tmp_path: Path) -> None:
    """Of the signs at which a line could end the kernel escapes one."""
    odd = tmp_path / "a\r7f0000000000-7f0000001000 r-xp 00000000 00:01 99999999 b"
    odd.write_bytes(bytes(4096))
    with odd.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC):
        found = {mapped.path: mapped.inode for mapped in mapped_by(os.getpid())}
    assert found[os.fsencode(odd)] == odd.stat().st_ino
    assert 99999999 not in found.values()


def test_what_the_dynamic_linker_knows(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "lib").mkdir()
    for name in ("libssl.so.3", "libgnutls.so.30", "libssl_not.so", "libssl3.so", "libz.so"):
        (tmp_path / "lib" / name).touch()
    cache = [f"/lib/{entry.name}" for entry in (tmp_path / "lib").iterdir()] + ["/lib/libssl.so.9"]
    (tmp_path / "etc/ld.so.cache").write_bytes(
        b"glibc-ld.so.cache1.1\xff\0" + b"".join(path.encode() + b"\0" for path in cache)
    )
    names = [path.name for path in libraries(tmp_path)]
    assert names == ["libssl.so.3", "libgnutls.so.30", "libssl3.so"]
    assert libraries(tmp_path / "lib") == ()


def test_only_large_programs_have_a_library_inside(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/small").touch()
    (tmp_path / "usr/bin/gone").symlink_to("nowhere")
    (tmp_path / "usr/bin/large").write_bytes(bytes(1 << 20))
    assert list(programs(tmp_path)) == [tmp_path / "usr/bin/large"]
