# SPDX-License-Identifier: MIT
"""What stands in the maps of ``values.h``. A test compares the structs with the object's BTF."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_uint8, c_uint16, c_uint32, c_uint64
from enum import IntEnum, IntFlag

from leakstop.bpf.records import NAME_MAX_TEXT

CORE_MAX = 64
GRAM_SLOTS = 4
BLOOM_BITS = 23
BINARY_BITS = 21
SECOND_BITS = 22
SCANS_APART = 2
PROGRAM_MAX = 256
STREAM_KINDS = 5


class ResolverPlace(IntFlag):
    """``enum resolver_place``: what is known of a resolver."""

    HERE = 1
    """Its answers may come over the loopback device."""
    APART = 2
    """Nobody who is guarded answers in its name."""


class Protected(IntEnum):
    """``enum protected_kind``: whose thread it is."""

    AGENT = 1
    """The agent's, or its supervisor's."""
    WORKER = 2
    """The runner's."""
    RUNNER = 3
    """What is above that one: only its memory."""


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
        ("scans", c_uint32),
        ("block", c_uint8),
        ("leak_kill", c_uint8),
        ("signal", c_uint8),
        ("uplinks", c_uint8),
        ("scoped", c_uint8),
        ("hold_steps", c_uint8),
        ("hold_containers", c_uint8),
        ("pad", c_uint8),
        ("worker", c_uint32),
        ("nobody", Vec),
        ("anyone", Vec),
        ("unsure", Vec),
        ("stepless", Vec),
        ("runner", Vec),
        ("programless", Vec),
        ("boxed", Vec),
        ("unboxed", Vec),
        ("refusal", c_uint32),
        ("copy", c_uint32),
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


class Owner(ctypes.Structure):
    """``struct owner``"""

    _fields_ = (
        ("start", c_uint64),
        ("inode", c_uint64),
        ("container", c_uint64),
        ("tag", c_uint32),
        ("pad", c_uint32),
        ("program", Vec),
    )


class Waits(IntFlag):
    """What a process that is stopped waits for."""

    STEP = 1
    """Its step's name."""
    CONTAINER = 2


class Hold(ctypes.Structure):
    """``struct hold``"""

    _fields_ = (
        ("start", c_uint64),
        ("since", c_uint64),
        ("container", c_uint64),
        ("tag", c_uint32),
        ("waits", c_uint32),
    )


class Claim(ctypes.Structure):
    """``struct claim``"""

    _fields_ = (("tag", c_uint32), ("asker", c_uint32), ("members", c_int32), ("pad", c_uint32))


class Door(ctypes.Structure):
    """``struct door``"""

    _fields_ = (("until", c_uint64), ("tag", c_uint32), ("left", c_uint32))


class Bloom(ctypes.Structure):
    """``struct bloom``"""

    _fields_ = (
        ("mask", c_uint32),
        ("stride", c_uint32),
        ("apart", c_uint32),
        ("ascii", c_uint32),
        ("words", c_uint64 * (1 << BLOOM_BITS - 6)),
        ("binary", c_uint64 * (1 << BINARY_BITS - 6)),
        ("second", c_uint64 * (1 << SECOND_BITS - 6)),
    )


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
    "vec": Vec,
    "config": Config,
    "device": Device,
    "refusals": Refusals,
    "name_node": NameNode,
    "budget": Budget,
    "network_node": NetworkNode,
    "secret": SecretNode,
    "owner": Owner,
    "hold": Hold,
    "claim": Claim,
    "door": Door,
    "bloom": Bloom,
    "gram": Gram,
    "core": Core,
    "name_key": NameKey,
    "address_key": AddressKey,
    "port_key": PortKey,
}
"""By the struct's name in C, for the comparison with BTF."""
