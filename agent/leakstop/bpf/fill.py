# SPDX-License-Identifier: MIT
"""Writes a compiled policy and the needles into an object's maps.

Policy maps are frozen afterwards: from then on nobody can change them, root in the job
included (kernel.md 4).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Address

from leakstop.bpf import records
from leakstop.bpf.libbpf import Object
from leakstop.model.flow import Stream
from leakstop.model.verdict import Leak, Mode
from leakstop.policy.rules import Policy
from leakstop.policy.tables import Tables, vector_bytes
from leakstop.secrets.needles import NeedleTable

_FROZEN = (
    "names",
    "budgets",
    "networks",
    "ports",
    "resolvers",
    "blooms",
    "grams",
    "cores",
    "secrets",
)

PAID_NAMES = 65_536
"""Most names below wildcards that are kept; when they are that many, new ones are refused."""

Entry = tuple[bytes, bytes]

_TAIL = struct.Struct("<IIII")
"""Of ``struct name_node``, behind its vectors."""


def configure(
    target: Object,
    policy: Policy,
    tables: Tables,
    needles: NeedleTable,
    *,
    signal: bool,
    uplinks: bool = False,
) -> None:
    """Set the constants and the sizes, before loading."""
    config = records.Config(
        allow=_vec(tables.allow),
        deny=_vec(tables.deny),
        sink=_vec(tables.sink),
        accepts=_vecs(tables.accepts.get(stream, 0) for stream in Stream),
        stride=needles.stride,
        needles=len(needles.cores),
        block=policy.mode is Mode.BLOCK,
        leak_kill=policy.leak is Leak.KILL,
        signal=signal,
        uplinks=uplinks,
        refusal=_own_mark(),
    )
    target.map(".rodata").preset(bytes(config))
    for name, size in (
        ("names", len(tables.names)),
        ("budgets", len(tables.budgets)),
        ("spent", len(tables.budgets)),
        ("paid_names", min(sum(each.names for each in tables.budgets), PAID_NAMES)),
        ("networks", len(tables.networks)),
        ("ports", len(tables.ports)),
        ("grams", len(needles.grams)),
        ("cores", len(needles.cores)),
        ("secrets", len(needles.names)),
    ):
        target.map(name).resize(size)


def fill(
    target: Object,
    policy: Policy,
    tables: Tables,
    needles: NeedleTable,
    resolvers: Sequence[str],
    *,
    whole_machine: bool = False,
) -> None:
    """Write the tables and freeze them, after loading and before attaching."""
    contents: dict[str, Iterable[Entry]] = {
        "names": _names(tables),
        "budgets": _budgets(tables),
        "networks": _networks(tables),
        "ports": _ports(tables),
        "resolvers": _resolvers(tables, resolvers, whole_machine=whole_machine),
        "blooms": [(_index(0), _bloom(needles))],
        "grams": _grams(needles),
        "cores": _cores(needles),
        "secrets": _secrets(policy, tables, needles),
    }
    for name in _FROZEN:
        target.map(name).update_all(contents[name])
        target.map(name).freeze()


def mapped(address: str) -> bytes:
    """An address as the kernel side holds it: 16 bytes, IPv4 as ``::ffff:a.b.c.d``."""
    return IPv6Address(address if ":" in address else f"::ffff:{address}").packed


def _own_mark() -> int:
    """A packet mark that nobody else has: other guards, and routing by marks, use some too."""
    return int.from_bytes(os.urandom(4), "little") | 1


def _vec(vector: int) -> records.Vec:
    return records.Vec.from_buffer_copy(vector_bytes(vector))


def _vecs(vectors: Iterable[int]) -> ctypes.Array[records.Vec]:
    return (records.Vec * records.STREAM_KINDS)(*map(_vec, vectors))


def _index(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _names(tables: Tables) -> Iterator[Entry]:
    for name, node in tables.names.items():
        key = (len(name) * 8).to_bytes(4, "little") + name.ljust(records.NAME_MAX_TEXT, b"\0")
        tail = _TAIL.pack(len(name), node.own, node.deep_budget, node.one_budget)
        yield key, vector_bytes(node.deep) + vector_bytes(node.one) + tail


def _budgets(tables: Tables) -> Iterator[Entry]:
    for number, budget in enumerate(tables.budgets):
        yield _index(number), bytes(records.Budget(budget.names, budget.bytes))


def _resolvers(tables: Tables, resolvers: Iterable[str], *, whole_machine: bool) -> Iterator[Entry]:
    """One on a machine that is guarded as a whole is guarded, too; a policy's may be the job's."""
    for address in dict.fromkeys(resolvers):
        here = tables.lookup_address(address).local
        guarded = address in tables.resolvers or (here and whole_machine)
        place = records.ResolverPlace.HERE if here else records.ResolverPlace(0)
        if not guarded:
            place |= records.ResolverPlace.APART
        yield mapped(address), bytes((place,))


def _networks(tables: Tables) -> Iterator[Entry]:
    for network, node in tables.networks.items():
        key = network.prefixlen.to_bytes(4, "little") + network.network_address.packed
        yield key, vector_bytes(node.vector) + struct.pack("<II", node.local, node.belief)


def _ports(tables: Tables) -> Iterator[Entry]:
    for (protocol, port, length), vector in tables.ports.items():
        key = (8 + length).to_bytes(4, "little") + bytes((protocol,)) + port.to_bytes(2, "big")
        yield key + b"\0", vector_bytes(vector)


def _bloom(needles: NeedleTable) -> bytes:
    bits = bytearray(1 << (records.BLOOM_BITS - 3))
    for gram in needles.grams:
        bit = records.bloom_bit(gram)
        bits[bit >> 3] |= 1 << (bit & 7)  # little-endian words of 64 bits
    return bytes(bits)


def _grams(needles: NeedleTable) -> Iterator[Entry]:
    for gram, candidates in needles.grams.items():
        node = records.Gram()
        for slot, (needle, position) in enumerate(candidates):
            node.needle[slot] = needle + 1
            node.at[slot] = position
        yield gram.to_bytes(8, "little"), bytes(node)


def _cores(needles: NeedleTable) -> Iterator[Entry]:
    for number, (core, (owner, _)) in enumerate(zip(needles.cores, needles.owners, strict=True)):
        node = records.Core(secret=owner, len=len(core))
        ctypes.memmove(ctypes.addressof(node) + records.Core.bytes.offset, core, len(core))
        yield _index(number), bytes(node)


def _secrets(policy: Policy, tables: Tables, needles: NeedleTable) -> Iterator[Entry]:
    for number, name in enumerate(needles.names):
        home = _vec(tables.homes.get(name, 0))
        yield _index(number), bytes(records.SecretNode(home=home, placed=name in policy.homes))


__all__ = ["PAID_NAMES", "configure", "fill", "mapped"]
