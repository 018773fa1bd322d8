# SPDX-License-Identifier: MIT
"""Writes a compiled policy and the needles into an object's maps.

Policy maps are frozen afterwards: from then on nobody can change them, root in the job
included. Those of the secrets are not: some are only found when the job runs.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Address
from itertools import islice
from typing import Any

from leakstop.bpf import bloom, records, values
from leakstop.bpf.libbpf import Object
from leakstop.model.event import SecretHit
from leakstop.model.flow import Stream
from leakstop.model.verdict import Leak, Mode
from leakstop.policy.rules import Policy
from leakstop.policy.scopes import Scopes
from leakstop.policy.tables import Tables, vector_bytes
from leakstop.secrets.needles import GRAM_BYTES, MAX_STRIDE, Grams, NeedleTable

_FROZEN = ("names", "budgets", "networks", "ports", "resolvers", "programs")

PAID_NAMES = 65_536
"""Most names below wildcards that are kept; when they are that many, new ones are refused."""

ROOT_CGROUP = 1
"""Id of the one that holds all others."""
COPY = 65_536
"""Bytes of each connection that are looked through in user space."""

SPARE_SECRETS = 256
"""How many secrets can be found after loading."""
SPARE_NEEDLES = 48 * SPARE_SECRETS
"""Their forms: an ordinary token has about forty."""
SPARE_GRAMS = MAX_STRIDE * SPARE_NEEDLES
_NEEDLES = 0xFFFF
"""The kernel's numbers of needles have 16 bits, and 0 is none."""

Entry = tuple[bytes, bytes]

_MARK = struct.Struct(f"<Q{2 * records.HITS_MAX}HI4x")
"""``struct mark``"""
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
    finds: bool = False,
    cgroup: int = ROOT_CGROUP,
    copy: int = COPY,
    worker: int = 0,
) -> None:
    """Set the constants and the sizes, before loading.

    ``finds``: scan also if there is nothing to look for yet, and leave room for what is found.
    ``cgroup``: id of the guarded one, whose writes are looked into. ``copy``: bytes of each
    connection that are handed on to be looked through, 0 for none. ``worker``: the process whose
    children are steps, 0 for none.
    """
    spare, scopes = int(finds), tables.scopes
    config = values.Config(
        allow=_vec(tables.allow),
        deny=_vec(tables.deny),
        sink=_vec(tables.sink),
        accepts=_vecs(tables.accepts.get(stream, 0) for stream in Stream),
        scans=_scans(needles, finds=finds),
        block=policy.mode is Mode.BLOCK,
        leak_kill=policy.leak is Leak.KILL,
        signal=signal,
        uplinks=uplinks,
        worker=worker,
        hold_steps=scopes.any_step and worker != 0,
        **_scopes(scopes),
        refusal=_own_mark(),
        copy=copy,
        cgroup=cgroup,
    )
    target.map(".rodata").preset(bytes(config))
    for name, size in (
        ("names", len(tables.names)),
        ("budgets", len(tables.budgets)),
        ("spent", len(tables.budgets)),
        ("paid_names", min(sum(each.names for each in tables.budgets), PAID_NAMES)),
        ("networks", len(tables.networks)),
        ("ports", len(tables.ports)),
        ("programs", len(scopes.programs)),
        ("grams", len(needles.grams) + spare * SPARE_GRAMS),
        ("cores", min(len(needles.cores) + spare * SPARE_NEEDLES, _NEEDLES)),
        ("secrets", len(needles.names) + spare * SPARE_SECRETS),
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
    """Write the tables and freeze the policy's, after loading and before attaching."""
    filters = bloom.empty(needles.stride, needles.grams)
    filters.ascii = bloom.is_ascii(needles)
    bloom.add(filters, needles.grams)
    contents: dict[str, Iterable[Entry]] = {
        "names": _names(tables),
        "budgets": _budgets(tables),
        "networks": _networks(tables),
        "ports": _ports(tables),
        "programs": _programs(tables.scopes),
        "resolvers": _resolvers(tables, resolvers, whole_machine=whole_machine),
        "blooms": [(_index(0), bytes(filters))],
        "grams": _gram_entries(needles.grams),
        "cores": _cores(needles),
        "secrets": _secrets(policy, tables, needles),
    }
    for name, entries in contents.items():
        target.map(name).update_all(entries)
    for name in _FROZEN:
        target.map(name).freeze()


def add(
    target: Object, before: NeedleTable, after: NeedleTable, homes: Mapping[str, int | None]
) -> None:
    """Write what ``after``, an extension of ``before``, has more, while the programs run.

    ``homes``: of each new secret the mask of its conditions; ``None``: nobody placed it.

    A reader goes from the Bloom filter to the grams to the cores to the secrets. Written in the
    other order, each of them leads to what is whole.
    """
    secrets = (
        (_index(number), _found(homes[name]))
        for number, name in enumerate(after.names[len(before.names) :], len(before.names))
    )
    grams = {gram: after.grams[gram] for gram in _new_grams(before, after)}
    target.map("secrets").update_all(secrets)
    target.map("cores").update_all(_cores(after, len(before.cores)))
    target.map("grams").update_all(_gram_entries(grams))
    known = target.map("blooms").lookup(_index(0), ctypes.sizeof(values.Bloom))
    assert known is not None, "an array has all of its entries"
    filters = values.Bloom.from_buffer_copy(known)
    filters.stride = after.stride
    filters.ascii &= bloom.is_ascii(after, len(before.cores))
    bloom.add(filters, grams)
    target.map("blooms").update(_index(0), bytes(filters))


def mark(
    target: Object, needles: NeedleTable, pid: int, start_ns: int, hits: Sequence[SecretHit]
) -> None:
    """Note that the image of ``pid`` has secrets on its command line.

    The kernel does so itself at exec; this is for what became known just after that.
    """
    hits = hits[: records.HITS_MAX]
    owners = [needles.names.index(hit.secret) for hit in hits]
    forms = zip(owners, (hit.encoding for hit in hits), strict=True)
    found = [needles.owners.index(form) for form in forms]
    spare = [0] * (records.HITS_MAX - len(owners))
    value = _MARK.pack(start_ns, *found, *spare, *owners, *spare, len(owners))
    target.map("marks").update(_index(pid), value)


def mapped(address: str) -> bytes:
    """An address as the kernel side holds it: 16 bytes, IPv4 as ``::ffff:a.b.c.d``."""
    return IPv6Address(address if ":" in address else f"::ffff:{address}").packed


def program_key(program: str) -> bytes:
    """A program as ``program.bpf.h`` has it, from its file up: a path, or a bare name."""
    if not program.startswith("/"):
        return os.fsencode(program)
    return b"".join(os.fsencode(name) + b"/" for name in reversed(program[1:].split("/")))


def _own_mark() -> int:
    """A packet mark that nobody else has: other guards, and routing by marks, use some too."""
    return int.from_bytes(os.urandom(4), "little") | 1


def program_vector(scopes: Scopes, path: str) -> values.Vec:
    """``struct owner``'s of a process that runs ``path``, empty if that is not known."""
    return _vec(scopes.of_program(path))


def _scopes(scopes: Scopes) -> dict[str, Any]:
    """What ``struct config`` says of whom rules are for."""
    return {
        "scoped": scopes.any,
        "hold_containers": scopes.any_container,
        "nobody": _vec(scopes.nobody),
        "unsure": _vec(scopes.of_step(None)),
        "anyone": _vec(scopes.anyone),
        "stepless": _vec(scopes.of_step(())),
        "runner": _vec(scopes.of_step((), runner=True)),
        "programless": _vec(scopes.of_program("/")),
        "boxed": _vec(scopes.of_container(None)),
        "unboxed": _vec(scopes.of_container(())),
    }


def _vec(vector: int) -> values.Vec:
    return values.Vec.from_buffer_copy(vector_bytes(vector))


def _vecs(vectors: Iterable[int]) -> ctypes.Array[values.Vec]:
    return (values.Vec * values.STREAM_KINDS)(*map(_vec, vectors))


def _index(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _names(tables: Tables) -> Iterator[Entry]:
    for name, node in tables.names.items():
        key = (len(name) * 8).to_bytes(4, "little") + name.ljust(records.NAME_MAX_TEXT, b"\0")
        tail = _TAIL.pack(len(name), node.own, node.deep_budget, node.one_budget)
        yield key, vector_bytes(node.deep) + vector_bytes(node.one) + tail


def _budgets(tables: Tables) -> Iterator[Entry]:
    for number, budget in enumerate(tables.budgets):
        yield _index(number), bytes(values.Budget(budget.names, budget.bytes))


def _resolvers(tables: Tables, resolvers: Iterable[str], *, whole_machine: bool) -> Iterator[Entry]:
    """One on a machine that is guarded as a whole is guarded, too; a policy's may be the job's."""
    for address in dict.fromkeys(resolvers):
        here = tables.lookup_address(address).local
        guarded = address in tables.resolvers or (here and whole_machine)
        place = values.ResolverPlace.HERE if here else values.ResolverPlace(0)
        if not guarded:
            place |= values.ResolverPlace.APART
        yield mapped(address), bytes((place,))


def _networks(tables: Tables) -> Iterator[Entry]:
    for network, node in tables.networks.items():
        key = network.prefixlen.to_bytes(4, "little") + network.network_address.packed
        yield key, vector_bytes(node.vector) + struct.pack("<II", node.local, node.belief)


def _ports(tables: Tables) -> Iterator[Entry]:
    for (protocol, port, length), vector in tables.ports.items():
        key = (8 + length).to_bytes(4, "little") + bytes((protocol,)) + port.to_bytes(2, "big")
        yield key + b"\0", vector_bytes(vector)


def _programs(scopes: Scopes) -> Iterator[Entry]:
    for program, vector in scopes.programs.items():
        yield program_key(program).ljust(values.PROGRAM_MAX, b"\0"), vector_bytes(vector)


def _gram_entries(grams: Grams) -> Iterator[Entry]:
    for gram, candidates in grams.items():
        node = values.Gram()
        for slot, (needle, position) in enumerate(candidates):
            node.needle[slot] = needle + 1
            node.at[slot] = position
        yield gram.to_bytes(8, "little"), bytes(node)


def _new_grams(before: NeedleTable, after: NeedleTable) -> Iterator[int]:
    """Those that have a candidate more. Only looked for in new cores: the table is large."""
    for core in after.cores[len(before.cores) :]:
        for start in range(len(core) - GRAM_BYTES + 1):
            gram = int.from_bytes(core[start : start + GRAM_BYTES], "little")
            if gram in after.grams and after.grams[gram] != before.grams.get(gram):
                yield gram


def _cores(needles: NeedleTable, first: int = 0) -> Iterator[Entry]:
    cores = zip(needles.cores, needles.owners, needles.starts, strict=True)
    for number, (core, (owner, _), start) in enumerate(islice(cores, first, None), first):
        node = values.Core(secret=owner, len=len(core), at=start)
        ctypes.memmove(ctypes.addressof(node) + values.Core.bytes.offset, core, len(core))
        yield _index(number), bytes(node)


def _scans(needles: NeedleTable, *, finds: bool) -> int:
    if bloom.is_apart(needles.grams):
        return values.SCANS_APART
    return int(finds or bool(needles.cores))


def _found(home: int | None) -> bytes:
    placed = home is not None
    return bytes(values.SecretNode(home=_vec(home or 0), placed=placed, guessed=not placed))


def _secrets(policy: Policy, tables: Tables, needles: NeedleTable) -> Iterator[Entry]:
    for number, name in enumerate(needles.names):
        home = _vec(tables.homes.get(name, 0))
        yield _index(number), bytes(values.SecretNode(home=home, placed=name in policy.homes))


__all__ = [
    "COPY",
    "PAID_NAMES",
    "ROOT_CGROUP",
    "SPARE_GRAMS",
    "SPARE_NEEDLES",
    "SPARE_SECRETS",
    "add",
    "configure",
    "fill",
    "mapped",
    "mark",
    "program_key",
    "program_vector",
]
