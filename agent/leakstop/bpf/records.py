# SPDX-License-Identifier: MIT
"""The structs of ``leakstop.h``, for user space. A test compares them with the object's BTF."""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_int32, c_uint8, c_uint16, c_uint32, c_uint64
from enum import IntEnum, IntFlag

ARGV_COPY = 4096
EXE_COPY = 256
NAME_MAX_TEXT = 256
HITS_MAX = 8
ANSWERS_MAX = 64
CORE_MAX = 64
GRAM_SLOTS = 4
BLOOM_BITS = 23
STREAM_KINDS = 5
PLAINTEXT_COPY = 4096
_GOLDEN = 0x9E3779B97F4A7C15


class Kind(IntEnum):
    """``enum event_kind``"""

    FORK = 1
    EXEC = 2
    EXIT = 3
    CONNECT = 4
    QUESTION = 5
    ANSWER = 6
    STREAM = 7
    BIND = 8
    WRITE = 9
    TLS = 10
    PLAINTEXT = 11


class Lost(IntEnum):
    """``enum loss``: what could not be done."""

    EVENTS = 0
    SCRATCH = 1
    ADDRESSES = 2
    MARKS = 3
    ARGV = 4
    ANSWERS = 5
    SOCKETS = 6
    NAMES = 7
    WRITES = 8
    PLAINTEXTS = 9


class ResolverPlace(IntFlag):
    """``enum resolver_place``: what is known of a resolver."""

    HERE = 1
    """Its answers may come over the loopback device."""
    APART = 2
    """Nobody who is guarded answers in its name."""


class EventHead(ctypes.Structure):
    """``struct event_head``"""

    _fields_ = (("kind", c_uint32), ("pid", c_uint32), ("ts", c_uint64), ("start", c_uint64))


class EventFork(ctypes.Structure):
    """``struct event_fork``"""

    _fields_ = (("head", EventHead), ("ppid", c_uint32), ("pad", c_uint32))


class EventExit(ctypes.Structure):
    """``struct event_exit``"""

    _fields_ = (("head", EventHead), ("code", c_int32), ("pad", c_uint32))


class EventExec(ctypes.Structure):
    """``struct event_exec``"""

    _fields_ = (
        ("head", EventHead),
        ("cgroup", c_uint64),
        ("ppid", c_uint32),
        ("uid", c_uint32),
        ("argv_bytes", c_uint32),
        ("argv_copied", c_uint32),
        ("hits", c_uint16 * HITS_MAX),
        ("hit_count", c_uint8),
        ("unscanned", c_uint8),
        ("pad", c_uint8 * 6),
        ("exe", c_char * EXE_COPY),
        ("argv", c_char * ARGV_COPY),
    )


class Judgement(ctypes.Structure):
    """``struct judgement``"""

    _fields_ = (
        ("policy", c_uint8),
        ("applied", c_uint8),
        ("reason", c_uint8),
        ("carriage", c_uint8),
    )


class EventConnect(ctypes.Structure):
    """``struct event_connect``"""

    _fields_ = (
        ("head", EventHead),
        ("cookie", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("via", c_uint8),
        ("judged", Judgement),
        ("killed", c_uint8),
        ("hit_count", c_uint8),
        ("family", c_uint8),
        ("pad", c_uint8 * 5),
        ("hits", c_uint16 * HITS_MAX),
    )


class EventQuestion(ctypes.Structure):
    """``struct event_question``"""

    _fields_ = (
        ("head", EventHead),
        ("resolver", c_uint8 * 16),
        ("judged", Judgement),
        ("qtype", c_uint16),
        ("killed", c_uint8),
        ("in_name", c_uint8),
        ("hit_count", c_uint8),
        ("begun", c_uint8),
        ("name_len", c_uint16),
        ("hits", c_uint16 * HITS_MAX),
        ("cookie", c_uint64),
        ("name", c_char * NAME_MAX_TEXT),
    )


class EventAnswer(ctypes.Structure):
    """``struct event_answer``"""

    _fields_ = (
        ("head", EventHead),
        ("ttl", c_uint32),
        ("name_len", c_uint16),
        ("count", c_uint16),
        ("refused", c_uint64),
        ("name", c_char * NAME_MAX_TEXT),
        ("address", (c_uint8 * 16) * ANSWERS_MAX),
    )


class EventStream(ctypes.Structure):
    """``struct event_stream``"""

    _fields_ = (
        ("head", EventHead),
        ("cookie", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("name_port", c_uint16),
        ("judged", Judgement),
        ("stream", c_uint8),
        ("killed", c_uint8),
        ("hit_count", c_uint8),
        ("pad", c_uint8),
        ("name_len", c_uint16),
        ("hits", c_uint16 * HITS_MAX),
        ("name", c_char * NAME_MAX_TEXT),
        ("tail", c_uint8 * 2),
    )


class EventBind(ctypes.Structure):
    """``struct event_bind``"""

    _fields_ = (("head", EventHead), ("ip", c_uint8 * 16), ("port", c_uint16), ("pad", c_uint8 * 6))


class EventWrite(ctypes.Structure):
    """``struct event_write``"""

    _fields_ = (
        ("head", EventHead),
        ("cookie", c_uint64),
        ("object", c_uint64),
        ("size", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("channel", c_uint8),
        ("judged", Judgement),
        ("library", c_uint8),
        ("tie", c_uint8),
        ("killed", c_uint8),
        ("hit_count", c_uint8),
        ("name_len", c_uint16),
        ("hits", c_uint16 * HITS_MAX),
        ("begun", c_uint8),
        ("pad", c_uint8),
        ("name", c_char * NAME_MAX_TEXT),
    )


class EventTls(ctypes.Structure):
    """``struct event_tls``"""

    _fields_ = (
        ("head", EventHead),
        ("object", c_uint64),
        ("library", c_uint8),
        ("pad", c_uint8 * 5),
        ("name_len", c_uint16),
        ("name", c_char * NAME_MAX_TEXT),
    )


class EventPlaintext(ctypes.Structure):
    """``struct event_plaintext``"""

    _fields_ = (
        ("head", EventHead),
        ("stream", c_uint64),
        ("offset", c_uint64),
        ("ip", c_uint8 * 16),
        ("port", c_uint16),
        ("channel", c_uint8),
        ("library", c_uint8),
        ("len", c_uint32),
        ("bytes", c_char * PLAINTEXT_COPY),
    )


class Vec(ctypes.Structure):
    """``struct vec``"""

    _fields_ = (("w", c_uint64 * 4),)


class Config(ctypes.Structure):
    """``struct config``, the whole of ``.rodata``"""

    _fields_ = (
        ("allow", Vec),
        ("deny", Vec),
        ("sink", Vec),
        ("accepts", Vec * STREAM_KINDS),
        ("stride", c_uint32),
        ("scans", c_uint32),
        ("block", c_uint8),
        ("leak_kill", c_uint8),
        ("signal", c_uint8),
        ("uplinks", c_uint8),
        ("refusal", c_uint32),
        ("copy", c_uint32),
        ("agent", c_uint32),
        ("cgroup", c_uint64),
    )


class Device(ctypes.Structure):
    """``struct device``"""

    _fields_ = (
        ("netns", c_uint64),
        ("header", c_uint8),
        ("loopback", c_uint8),
        ("uplink", c_uint8),
        ("pad", c_uint8 * 5),
    )


class Refusals(ctypes.Structure):
    """``struct refusals``"""

    _fields_ = (("marked", c_uint64), ("met", c_uint64), ("last", c_uint64))


class NameNode(ctypes.Structure):
    """``struct name_node``"""

    _fields_ = (
        ("deep", Vec),
        ("one", Vec),
        ("len", c_uint32),
        ("own", c_uint32),
        ("deep_budget", c_uint32),
        ("one_budget", c_uint32),
    )


class Budget(ctypes.Structure):
    """``struct budget``"""

    _fields_ = (("names", c_uint32), ("bytes", c_uint32))


class NetworkNode(ctypes.Structure):
    """``struct network_node``"""

    _fields_ = (("bits", Vec), ("local", c_uint32), ("belief", c_uint32))


class SecretNode(ctypes.Structure):
    """``struct secret``"""

    _fields_ = (("home", Vec), ("placed", c_uint32), ("guessed", c_uint32))


class Gram(ctypes.Structure):
    """``struct gram``"""

    _fields_ = (
        ("needle", c_uint16 * GRAM_SLOTS),
        ("at", c_uint8 * GRAM_SLOTS),
        ("pad", c_uint32),
    )


class Core(ctypes.Structure):
    """``struct core``"""

    _fields_ = (
        ("secret", c_uint16),
        ("len", c_uint16),
        ("at", c_uint32),
        ("bytes", c_uint8 * CORE_MAX),
    )


class NameKey(ctypes.Structure):
    """``struct name_key``"""

    _fields_ = (("prefixlen", c_uint32), ("name", c_uint8 * NAME_MAX_TEXT))


class AddressKey(ctypes.Structure):
    """``struct address_key``"""

    _fields_ = (("prefixlen", c_uint32), ("ip", c_uint8 * 16))


class PortKey(ctypes.Structure):
    """``struct port_key``"""

    _fields_ = (
        ("prefixlen", c_uint32),
        ("protocol", c_uint8),
        ("port", c_uint8 * 2),
        ("pad", c_uint8),
    )


MIRRORS: dict[str, type[ctypes.Structure]] = {
    "event_head": EventHead,
    "event_fork": EventFork,
    "event_exit": EventExit,
    "event_exec": EventExec,
    "judgement": Judgement,
    "event_connect": EventConnect,
    "event_question": EventQuestion,
    "event_answer": EventAnswer,
    "event_stream": EventStream,
    "event_bind": EventBind,
    "event_write": EventWrite,
    "event_tls": EventTls,
    "event_plaintext": EventPlaintext,
    "vec": Vec,
    "config": Config,
    "device": Device,
    "refusals": Refusals,
    "name_node": NameNode,
    "budget": Budget,
    "network_node": NetworkNode,
    "secret": SecretNode,
    "gram": Gram,
    "core": Core,
    "name_key": NameKey,
    "address_key": AddressKey,
    "port_key": PortKey,
}
"""By the struct's name in C, for the comparison with BTF."""


def bloom_bits(gram: int, mask: int) -> tuple[int, int]:
    """The bits for an 8-byte gram: ``may_be_gram`` of ``scan.bpf.h``; ``mask`` of words in use."""
    hashed = ((gram * _GOLDEN) & 0xFFFFFFFFFFFFFFFF) >> (64 - 6 - BLOOM_BITS)
    word = (hashed >> 12 & mask) * 64
    return word + (hashed & 63), word + (hashed >> 6 & 63)
