# SPDX-License-Identifier: MIT
"""What is a plain question, and what an answer teaches: said a second time, to compare."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from ipaddress import ip_address

A, CNAME, AAAA, OPT, SVCB, HTTPS = 1, 5, 28, 41, 64, 65
RECORDS, HINT_STEPS, JUMPS, SHOWN = 128, 64, 16, 64
"""The kernel reads no more than that."""
_STEPS = 253 + 2 + JUMPS
_NAME_BYTES = re.compile(rb"[A-Za-z0-9_-]+")


class BadName(Exception):
    """No name stands there."""


def read_labels(message: bytes, at: int, *, jumps: bool) -> tuple[list[bytes], int]:
    """The labels of the name at ``at``, and where it ends."""
    labels: list[bytes] = []
    end, jumped, steps = 0, 0, 0
    while True:
        steps += 1
        if at >= len(message) or steps > _STEPS:
            raise BadName
        size = message[at]
        if size == 0:
            if len(b".".join(labels)) > 253:
                raise BadName
            return labels, end or at + 1
        if size >= 0xC0:
            if not jumps or at + 1 >= len(message) or jumped == JUMPS:
                raise BadName
            jumped += 1
            end = end or at + 2
            at = (size & 0x3F) << 8 | message[at + 1]
            continue
        if size >= 0x40 or at + 1 + size > len(message):
            raise BadName
        labels.append(message[at + 1 : at + 1 + size])
        at += 1 + size
        steps += size


def read_name(message: bytes, at: int, *, jumps: bool) -> tuple[bytes, int]:
    """The name at ``at``, its labels joined by dots, and where it ends."""
    labels, end = read_labels(message, at, jumps=jumps)
    return b".".join(labels), end


def plain_question(message: bytes) -> tuple[str, int] | None:
    """Name and type of a plain question; ``None`` if it is something else."""
    if not 12 <= len(message) <= 4096:
        return None
    _, flags, *counts = struct.unpack(">HHHHHH", message[:12])
    if flags & 0xFE0F or counts[:3] != [1, 0, 0] or counts[3] > 1:
        return None
    try:
        labels, end = read_labels(message, 12, jumps=False)
    except BadName:
        return None
    if not all(map(_NAME_BYTES.fullmatch, labels)):
        return None
    rest = message[end:]
    if len(rest) < 4 or rest[2:4] != b"\0\1":
        return None
    extra = rest[4:]
    if counts[3]:
        if len(extra) < 11 or extra[:3] != b"\0\0\x29":
            return None
        extra = extra[11 + int.from_bytes(extra[9:11], "big") :] if _fits(extra) else b"?"
    return None if extra else (b".".join(labels).decode(), int.from_bytes(rest[:2], "big"))


def _fits(record: bytes) -> bool:
    return 11 + int.from_bytes(record[9:11], "big") <= len(record)


def taught(message: bytes, name: str, qtype: int, ident: int) -> tuple[str, ...]:
    """The addresses that ``message`` teaches of ``name``, at most ``SHOWN`` of them."""
    if len(message) < 12:
        return ()
    found, flags, questions, answers = struct.unpack(">HHHH", message[:8])
    if not flags & 0x8000 or questions != 1 or found != ident:
        return ()
    try:
        asked, at = read_name(message, 12, jumps=False)
    except BadName:
        return ()
    if asked.lower().decode("latin-1") != name or message[at : at + 2] != struct.pack(">H", qtype):
        return ()
    if at + 4 > len(message):
        return ()
    return tuple(list(_records(message, at + 4, min(answers, RECORDS), asked.lower()))[:SHOWN])


def _records(message: bytes, at: int, left: int, owner: bytes) -> Iterator[str]:
    for _ in range(left):
        try:
            name, at = read_name(message, at, jumps=True)
        except BadName:
            return
        if at + 10 > len(message):
            return
        kind, rclass, _, size = struct.unpack(">HHIH", message[at : at + 10])
        data, at = at + 10, at + 10 + size
        if at > len(message):
            return
        if rclass != 1 or name.lower() != owner:
            continue
        try:
            if kind == CNAME:
                owner = read_name(message, data, jumps=True)[0].lower()
            elif (kind, size) in ((A, 4), (AAAA, 16)):
                yield str(ip_address(message[data:at]))
            elif kind in (SVCB, HTTPS):
                target, params = read_name(message, data + 2, jumps=True)
                if params > at:
                    continue
                if message[data : data + 2] != b"\0\0":
                    yield from _hints(message, params, at)
                elif target:
                    owner = target.lower()
        except BadName:
            continue


def _hints(message: bytes, at: int, end: int) -> Iterator[str]:
    steps = 0
    while at + 4 <= end and steps < HINT_STEPS:
        key, size = struct.unpack(">HH", message[at : at + 4])
        steps += 1
        at += 4
        if at + size > end:
            return
        width = {4: 4, 6: 16}.get(key, 0)
        for start in range(at, at + size - width + 1, width) if width else ():
            if steps == HINT_STEPS:
                return
            steps += 1
            yield str(ip_address(message[start : start + width]))
        at += size


def same(address: str) -> str:
    """An address as the kernel side writes it: mapped ones as IPv4."""
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)
