# SPDX-License-Identifier: MIT
"""Runs pieces of the data plane by BPF_PROG_TEST_RUN, with real tables in real maps."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from leakstop.bpf import fill, records, values
from leakstop.bpf.libbpf import Object, library
from leakstop.model.flow import Flow, Stream, Transport, Who
from leakstop.model.process import Tag
from leakstop.model.verdict import Action, Carriage, Reason
from leakstop.policy.rules import Policy
from leakstop.policy.tables import Tables, vector_bytes
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import NeedleTable, build

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "agent/leakstop/bpf"
WINDOW_EDGE = 128
WINDOW = 4096 + 2 * WINDOW_EDGE
PAGES = 256
"""Windows that ``scan_ns`` takes."""
NOBODY = Who(steps=None, process="", container=None)
"""The least right."""
_ANYBODY = Who()
_UNKNOWN_CONTAINER = 1 << 60
_NEVER = (1 << 63).to_bytes(8, "little")
_PROTOCOLS = {Transport.TCP: 6, Transport.UDP: 17, Transport.ICMP: 1, Transport.OTHER: 132}


class DecideArgs(ctypes.Structure):
    """``struct decide_args``"""

    _fields_ = (
        ("ip", ctypes.c_uint8 * 16),
        ("port", ctypes.c_uint16),
        ("protocol", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 5),
        ("judged", records.Judgement),
        ("marked", ctypes.c_uint32),
        ("stream", ctypes.c_uint8),
        ("named", ctypes.c_uint8),
        ("pad2", ctypes.c_uint8 * 6),
        ("shown", values.Vec),
        ("owner", values.Owner),
        ("bare", ctypes.c_char * values.PROGRAM_MAX),
        ("path", ctypes.c_char * values.PROGRAM_MAX),
    )


class NameArgs(ctypes.Structure):
    """``struct name_args``"""

    _fields_ = (
        ("len", ctypes.c_uint32),
        ("at", ctypes.c_uint32),
        ("keep", ctypes.c_uint32),
        ("result", ctypes.c_int32),
        ("end", ctypes.c_uint32),
        ("name_len", ctypes.c_uint32),
        ("hash", ctypes.c_uint64),
        ("judged", records.Judgement),
        ("hits", ctypes.c_uint32),
        ("who", values.Vec),
        ("bytes", ctypes.c_uint8 * 512),
        ("name", ctypes.c_char * records.NAME_MAX_TEXT),
    )


class ScanArgs(ctypes.Structure):
    """``struct scan_args``"""

    _fields_ = (
        ("from_", ctypes.c_uint32),
        ("to", ctypes.c_uint32),
        ("seen", ctypes.c_uint32),
        ("gone", ctypes.c_int32),
        ("no_hpack", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("bytes", ctypes.c_uint8 * WINDOW),
        ("slack", ctypes.c_uint8 * 264),
        ("needle", ctypes.c_uint16 * records.HITS_MAX),
        ("secret", ctypes.c_uint16 * records.HITS_MAX),
        ("count", ctypes.c_uint32),
        ("pad2", ctypes.c_uint32),
    )


class _RunOptions(ctypes.Structure):
    """``struct bpf_test_run_opts`` of libbpf 1.x"""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Judged:
    """``struct judgement``, in the model's words."""

    policy: Action
    applied: Action
    reason: Reason
    carriage: Carriage

    @classmethod
    def of(cls, record: records.Judgement) -> Judged:
        """Read a record."""
        return cls(
            tuple(Action)[record.policy],
            tuple(Action)[record.applied],
            tuple(Reason)[record.reason],
            tuple(Carriage)[record.carriage],
        )


_BUILD = tempfile.TemporaryDirectory(prefix="leakstop-bpf-")
"""Removed when the tests end."""


@cache
def compiled(name: str) -> Path:
    """Compile ``<name>.bpf.c``."""
    target = Path(_BUILD.name) / f"{name}.bpf.o"
    include = f"/usr/include/{os.uname().machine}-linux-gnu"
    subprocess.run(
        [
            *("clang", "-g", "-O2", "-mcpu=v3", "-target", "bpf", "-Wall", "-Werror"),
            *(f"-I{HEADERS}", f"-I{include}", "-c", Path(__file__).with_name(f"{name}.bpf.c")),
            *("-o", target),
        ],
        check=True,
    )
    return target


class DataPlane:
    """The test object with the tables of one policy."""

    def __init__(
        self,
        policy: Policy,
        tables: Tables,
        needles: NeedleTable | None = None,
        *,
        finds: bool = False,
    ) -> None:
        self._tables = tables
        table = needles or build(())
        self._object = Object(library(), compiled("decide"))
        fill.configure(self._object, policy, tables, table, signal=False, finds=finds)
        self._object.load()
        fill.fill(self._object, policy, tables, table, ())
        self._needles = table

    def found(self, secrets: Sequence[Secret], homes: Mapping[str, int | None]) -> NeedleTable:
        """Add ``secrets`` to what is looked for."""
        after = self._needles.extend(secrets)
        fill.add(self._object, self._needles, after, homes)
        self._needles = after
        return after

    def __enter__(self) -> DataPlane:
        return self

    def __exit__(self, *_: object) -> None:
        self._object.close()

    def decide(self, flow: Flow, *, marked: bool = False) -> Judged:
        """Judge a flow towards an address; its names have led there."""
        packed = fill.mapped(flow.ip)
        learned = 0
        for name in flow.names:
            learned |= self._tables.lookup_name(name)
        addresses = self._object.map("addresses")
        if flow.names:
            addresses.update(packed, vector_bytes(learned) + _NEVER)
        args = self._process(flow.who)
        args.port, args.protocol, args.marked = flow.port, _PROTOCOLS[flow.transport], marked
        args.ip[:] = packed
        if not self._tables.lookup_address(flow.ip).local:
            args.stream, args.named = tuple(Stream).index(flow.stream), bool(flow.shown)
        if args.named:
            shown = vector_bytes(self._tables.lookup_name(flow.shown))
            args.shown = values.Vec.from_buffer_copy(shown)
        result = self._run("decide", "decide_io", args)
        if flow.names:
            addresses.delete(packed)
        return Judged.of(result.judged)

    def find_who(self, who: Who) -> int:
        """The conditions that a process meets by who it is."""
        found = self._run("find_who_of", "decide_io", self._process(who)).shown
        return int.from_bytes(bytes(found), "little")

    def _process(self, who: Who) -> DecideArgs:
        """A process as its owner is in the kernel, with its names where the agent writes them."""
        if who == NOBODY:
            return DecideArgs()  # as the maker of a socket is noted who has no owner
        args, scopes = DecideArgs(owner=values.Owner(tag=_tag(who))), self._tables.scopes
        args.owner.program = fill.program_vector(scopes, "")
        args.path = fill.program_key(who.process)
        args.bare = os.fsencode(who.process.rpartition("/")[2])
        if args.owner.tag == Tag.STEPS and who.steps is not None:
            step = vector_bytes(scopes.of_step(who.steps))
            self._object.map("steps").update(_word(args.owner.tag, 4), step)
        args.owner.container = _UNKNOWN_CONTAINER if who.container is None else 0
        if who.container:
            args.owner.container = hash(who.container) & 0x7FFFFFFF
            box = vector_bytes(scopes.of_container(who.container))
            self._object.map("containers").update(_word(args.owner.container, 8), box)
        return args

    def read_name(
        self, message: bytes, at: int, *, keep: bool = True, who: Who = _ANYBODY
    ) -> NameArgs:
        """Read the name at ``at`` of a DNS message and, with ``keep``, judge it as a question."""
        args = NameArgs(len=len(message), at=at, keep=keep)
        args.who = values.Vec.from_buffer_copy(vector_bytes(self.find_who(who)))
        ctypes.memmove(ctypes.addressof(args) + NameArgs.bytes.offset, message, len(message))
        return self._run("read_question", "name_io", args)

    def scan(self, data: bytes, start: int = 0, *, no_hpack: bool = False) -> set[int]:
        """Scan ``data`` standing at ``start`` of a window; return the secrets that were found."""
        args = ScanArgs(to=start + len(data), no_hpack=no_hpack)
        ctypes.memmove(ctypes.addressof(args) + ScanArgs.bytes.offset + start, data, len(data))
        result = self._run("scan_bytes", "scan_io", args)
        return set(result.secret[: result.count])

    def empty_second_filter(self) -> None:
        """Clear the filter that is asked about what has passed the first one."""
        blooms, key = self._object.map("blooms"), bytes(4)
        filters = values.Bloom.from_buffer_copy(blooms.lookup(key, ctypes.sizeof(values.Bloom)))
        ctypes.memset(filters.second, 0, ctypes.sizeof(filters.second))
        blooms.update(key, bytes(filters))

    def fill_pages(self, data: bytes, *, no_hpack: bool = False) -> None:
        """Set what ``scan_ns`` scans: ``PAGES * WINDOW`` bytes."""
        pages = self._object.map("scan_pages")
        for number in range(PAGES):
            args = ScanArgs(to=WINDOW, no_hpack=no_hpack)
            piece = data[number * WINDOW : (number + 1) * WINDOW]
            ctypes.memmove(ctypes.addressof(args) + ScanArgs.bytes.offset, piece, len(piece))
            pages.update(number.to_bytes(4, "little"), bytes(args))

    def scan_ns(self, times: int) -> float:
        """Nanoseconds that a byte takes: the kernel's own measure, over ``times`` runs."""
        return _test_run(self._object, "scan_all", bytes(64), times) / (PAGES * WINDOW)

    def _run(self, program: str, io: str, args: ctypes.Structure) -> ctypes.Structure:
        return run(self._object, program, io, args)


def as_kernel_knows(who: Who) -> Who:
    """The kernel knows of which step a process is, or knows nothing of it."""
    return who if who.steps is not None else NOBODY


def _tag(who: Who) -> Tag:
    if who.runner:
        return Tag.RUNNER
    if who.steps is None:
        return Tag.UNKNOWN
    return Tag.STEPS if who.steps else Tag.JOB


def _word(number: int, size: int) -> bytes:
    return number.to_bytes(size, "little")


def run(
    loaded: Object, program: str, io: str, args: ctypes.Structure, packet: bytes = bytes(64)
) -> ctypes.Structure:
    """Run ``program`` once on ``packet``, with ``args`` in the map ``io``; return them after it."""
    exchange = loaded.map(io)
    exchange.update(bytes(4), bytes(args))
    _test_run(loaded, program, packet)
    raw = exchange.lookup(bytes(4), ctypes.sizeof(args))
    assert raw is not None
    return type(args).from_buffer_copy(raw)


def _test_run(loaded: Object, program: str, packet: bytes, times: int = 1) -> int:
    """Run ``program`` on ``packet``; return how many nanoseconds one run took."""
    data = ctypes.create_string_buffer(packet, len(packet))
    options = _RunOptions(
        sz=ctypes.sizeof(_RunOptions),
        data_in=ctypes.addressof(data),
        data_size_in=len(data),
        repeat=times,
    )
    lib = library()
    handle = lib.call("bpf_program__fd", loaded.program(program))
    assert lib._lib.bpf_prog_test_run_opts(handle, ctypes.byref(options)) == 0
    return int(options.duration)


def wire(name: str) -> bytes:
    """A name as it stands in a DNS message."""
    labels = [label.encode() for label in name.split(".")] if name else []
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def question(name: bytes) -> bytes:
    """A DNS query for a name in wire form, type A."""
    return bytes.fromhex("123401000001000000000000") + name + bytes.fromhex("00010001")
