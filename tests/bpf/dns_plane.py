# SPDX-License-Identifier: MIT
"""Hands DNS messages to the data plane: questions as packets, answers as they are."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from bpf.harness import Judged, compiled, run
from leakstop.bpf import fill, records
from leakstop.bpf.libbpf import Object, library
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables, vector_bytes
from leakstop.secrets.needles import build

MESSAGE_MAX = 4096
_COOKIE = 1
_FNV = (0xCBF29CE484222325, 0x100000001B3)
_PREFIX = IPv6Address("::ffff:0:0").packed[:12]


class QuestionArgs(ctypes.Structure):
    """``struct question_args``"""

    _fields_ = (
        ("judged", records.Judgement),
        ("qtype", ctypes.c_uint16),
        ("name_len", ctypes.c_uint16),
        ("name", ctypes.c_char * records.NAME_MAX_TEXT),
    )


class AnswerArgs(ctypes.Structure):
    """``struct answer_args``"""

    _fields_ = (
        ("len", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("event", records.EventAnswer),
        ("bytes", ctypes.c_uint8 * MESSAGE_MAX),
    )


@dataclass(frozen=True)
class Asked:
    """A question as it was judged."""

    judged: Judged
    name: str
    qtype: int


@dataclass(frozen=True)
class Heard:
    """What an answer taught."""

    addresses: tuple[str, ...]
    refused: tuple[str, ...]
    ttl: int


class DnsPlane:
    """The data plane's reading of DNS, with one policy."""

    def __init__(self, policy: Policy) -> None:
        tables = compile_tables(policy)
        self._tables = tables
        self._object = Object(library(), compiled("dns"))
        fill.configure(self._object, policy, tables, build(()), signal=False)
        self._object.load()
        fill.fill(self._object, policy, tables, build(()), ())

    def __enter__(self) -> DnsPlane:
        return self

    def __exit__(self, *_: object) -> None:
        self._object.close()

    def ask(self, message: bytes) -> Asked:
        """Judge ``message`` as a question by UDP."""
        ethernet = bytes(12) + b"\x08\0"
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(message), 0, 0, 64, 17, 0, *_ENDS)
        udp = struct.pack(">HHHH", 40000, 53, 8 + len(message), 0)
        args = run(
            self._object, "ask", "question_io", QuestionArgs(), ethernet + ip + udp + message
        )
        start = ctypes.addressof(args) + QuestionArgs.name.offset
        name = ctypes.string_at(start, args.name_len).decode("ascii", "backslashreplace")
        return Asked(Judged.of(args.judged), name, args.qtype)

    def hear(self, message: bytes, name: str, qtype: int, *, ident: int = 0x1234) -> Heard:
        """Let ``message`` answer a question for ``name``."""
        key = struct.pack("=QHHI", _COOKIE, ident, qtype, 0)
        node, _ = self._tables.find_name(name)
        asked = struct.pack("=Q", fnv(name)) + vector_bytes(1) + struct.pack("=Q", node.own)
        questions = self._object.map("asked_questions")
        questions.update(key, asked)
        args = AnswerArgs(len=len(message))
        ctypes.memmove(ctypes.addressof(args) + AnswerArgs.bytes.offset, message, len(message))
        event = run(self._object, "hear", "answer_io", args).event
        questions.delete(key)
        sides: tuple[list[str], list[str]] = ([], [])
        for i in range(event.count):
            sides[event.refused >> i & 1].append(_text(bytes(event.address[i])))
        return Heard(tuple(sides[0]), tuple(sides[1]), event.ttl)

    def expires(self, address: str) -> int:
        """Until when ``address`` is open, on the boot clock; 0 if it is not known."""
        found = self._object.map("addresses").lookup(fill.mapped(address), 40)
        return int.from_bytes(found[32:], "little") if found else 0

    def fill_addresses(self, count: int) -> None:
        """Put that many addresses into the table."""
        table = self._object.map("addresses")
        table.update_all((number.to_bytes(16, "big"), bytes(40)) for number in range(count))

    def fill_names(self, count: int) -> None:
        """Put that many names into the table of those below wildcards."""
        table = self._object.map("paid_names")
        table.update_all((number.to_bytes(260, "big"), b"\1") for number in range(count))

    def lost(self, kind: records.Lost) -> int:
        """How often that could not be done."""
        raw = self._object.map("losses").lookup(int(kind).to_bytes(4, "little"), 8 * 1024)
        assert raw is not None
        return sum(struct.unpack("=1024Q", raw))


_ENDS = (bytes((203, 0, 113, 2)), bytes((203, 0, 113, 53)))


def fnv(name: str) -> int:
    """The kernel's hash of a name."""
    value = _FNV[0]
    for byte in name.lower().encode():
        value = (value ^ byte) * _FNV[1] % (1 << 64)
    return value


def _text(packed: bytes) -> str:
    if packed[:12] == _PREFIX:
        return ".".join(map(str, packed[12:]))
    return str(IPv6Address(packed))
