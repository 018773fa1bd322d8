# SPDX-License-Identifier: MIT
"""The seccomp filter, run by a small interpreter of classic BPF, for both processors."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from leakstop.act.harden import Instruction, filter_for

UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK, XDP = 1, 2, 10, 16, 17, 38, 40, 44
STREAM, DGRAM, RAW, SOCK_PACKET = 1, 2, 3, 10
NONBLOCK, CLOEXEC = 0o4000, 0o2000000
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

# <asm/unistd.h> of each
NATIVE = {
    "x86_64": {"arch": 0xC000003E, "socket": 41, "socketpair": 53, "bpf": 321, "read": 0},
    "aarch64": {"arch": 0xC00000B7, "socket": 198, "socketpair": 199, "bpf": 280, "read": 63},
}
COMPAT = {
    "x86_64": {"arch": 0x40000003, "socket": 359, "socketpair": 360, "bpf": 357, "read": 3},
    "aarch64": {"arch": 0x40000028, "socket": 281, "socketpair": 288, "bpf": 386, "read": 3},
}
MACHINES = sorted(NATIVE)
BOTH = [(machine, abi[machine]) for machine in MACHINES for abi in (NATIVE, COMPAT)]


def run(program: list[Instruction], arch: int, number: int, *arguments: int) -> int:
    """The errno that a call fails with, 0 if it is let through."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    at = value = 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x20:  # ld [k]
            (value,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:  # and #k
            value &= operand
        elif code == 0x15:  # jeq #k
            at += if_true if value == operand else if_false
        elif code == 0x35:  # jge #k
            at += if_true if value >= operand else if_false
        else:
            assert code == 0x06, f"no such instruction: {code:#x}"
            return 0 if operand == ALLOW else operand - ERRNO


@pytest.mark.parametrize(("machine", "abi"), BOTH)
@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_families(machine: str, abi: dict[str, int], call: str) -> None:
    program = filter_for(machine)
    for family in range(64):
        expected = 0 if family in (UNIX, INET, INET6, NETLINK, ALG) else errno.EPERM
        for kind in (STREAM, DGRAM, RAW, STREAM | NONBLOCK | CLOEXEC):
            assert run(program, abi["arch"], abi[call], family, kind) == expected


@pytest.mark.parametrize(("machine", "abi"), BOTH)
def test_the_old_way_to_packet_sockets(machine: str, abi: dict[str, int]) -> None:
    for kind in (SOCK_PACKET, SOCK_PACKET | CLOEXEC | NONBLOCK):
        assert run(filter_for(machine), abi["arch"], abi["socket"], INET, kind) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_the_upper_half_of_a_register_does_not_count(machine: str) -> None:
    """The kernel takes an int: what it does not look at must not change the answer."""
    program, abi = filter_for(machine), NATIVE[machine]
    noise = 0xDEAD << 32
    assert run(program, abi["arch"], abi["socket"], noise | PACKET, RAW) == errno.EPERM
    assert run(program, abi["arch"], abi["socket"], noise | INET, noise | STREAM) == 0
    packet = (noise | INET, noise | SOCK_PACKET)
    assert run(program, abi["arch"], abi["socket"], *packet) == errno.EPERM


@pytest.mark.parametrize(("machine", "abi"), BOTH)
def test_calls(machine: str, abi: dict[str, int]) -> None:
    program = filter_for(machine)
    assert run(program, abi["arch"], abi["read"]) == 0
    assert run(program, abi["arch"], abi["bpf"]) == errno.EPERM
    for number in (425, 426, 427):
        assert run(program, abi["arch"], number) == errno.ENOSYS
    assert run(program, abi["arch"], 424) == 0
    assert run(program, abi["arch"], 428) == 0


def test_socketcall_of_i386_hides_its_arguments() -> None:
    assert run(filter_for("x86_64"), COMPAT["x86_64"]["arch"], 102, 1) == errno.EPERM


def test_x32_is_refused_whole() -> None:
    arch = NATIVE["x86_64"]["arch"]
    for number in (0, 41, 53, 425):
        assert run(filter_for("x86_64"), arch, 0x40000000 | number, INET, STREAM) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_an_unknown_abi_is_refused_whole(machine: str) -> None:
    assert run(filter_for(machine), 0xC0000015, 0) == errno.EPERM


def test_there_is_a_filter_for_this_machine() -> None:
    assert filter_for(os.uname().machine)
