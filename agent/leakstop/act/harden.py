# SPDX-License-Identifier: MIT
"""Closes, for one command and all it starts, what leads around the guard's hooks.

The hooks judge sockets of the Internet protocols, and root can take them away. So a seccomp
filter leaves a command only such families of sockets as the hooks see or as reach no network,
and the bounding set only such capabilities as builds need. Both are inherited and for good.

The filter is set by root, without ``no_new_privs``: sudo in the command goes on working.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from leakstop.errors import UnsupportedError

NOTE = (
    "Refused to the command: sockets other than UNIX, NETLINK, ALG and those of the Internet "
    "protocols; and without being listed, io_uring, bpf(2), and even as root: to change the "
    "network, to load kernel modules, to look into processes with more rights than its own."
)
"""What a report says of a command that was hardened."""

# Why each is taken: each would end or outwit the guard, and no package manager, compiler, test
# runner, sudo or container client needs it.
# Why the others are left: CAP_SYS_ADMIN mounts (image builds), and CAP_NET_RAW, without which
# the kernel does not even start a ping that has it as file capability (security/commoncap.c,
# bprm_caps_from_vfs_caps); the filter and the hooks close raw and packet sockets themselves.
_CAPABILITIES = {
    "CAP_NET_ADMIN": 12,  # tun devices, tunnels, routes, redirection by netfilter, the guard's tc
    "CAP_SYS_MODULE": 16,  # code of its own in the kernel
    "CAP_SYS_RAWIO": 17,  # the kernel's memory, by /dev/mem, /dev/port or /proc/kcore
    "CAP_SYS_PTRACE": 19,  # the memory and the sockets of processes outside, the agent's too
    "CAP_SYS_BOOT": 22,  # kexec(2): another kernel
    "CAP_BPF": 39,  # with bpf(2), below
}

# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK; AF_ALG (crypto in the kernel) reaches no network.
_FAMILIES = (1, 2, 10, 16, 38)
_SOCK_PACKET = 10
"""The old type of packet sockets: the kernel turns AF_INET into AF_PACKET for it."""
_SOCK_TYPE_MASK = 0xF

# An AF_PACKET socket made by IORING_OP_SOCKET passes no system call. The same numbers
# everywhere: io_uring_setup, _enter (a ring received from elsewhere), _register.
_IO_URING = (425, 426, 427)


@dataclass(frozen=True, slots=True)
class _Abi:
    """One way to call the kernel."""

    architecture: int
    """AUDIT_ARCH_* of <linux/audit.h>"""
    judged: tuple[int, ...]
    """socket(2) and socketpair(2): it depends on their arguments."""
    refused: tuple[int, ...]
    """bpf(2), by which root detaches the guard (CAP_SYS_ADMIN stands in for CAP_BPF); and
    socketcall(2), whose arguments lie where a filter cannot look."""
    foreign_from: int = 0
    """Numbers from here on are those of another ABI, which nobody uses: refused."""


_X32 = 0x40000000
# A processor's 32-bit ABI too: tests of 32-bit builds are ordinary. Any other is refused whole.
_ABIS = {
    "x86_64": (
        _Abi(0xC000003E, (41, 53), (321,), foreign_from=_X32),
        _Abi(0x40000003, (359, 360), (357, 102)),
    ),
    "aarch64": (
        _Abi(0xC00000B7, (198, 199), (280,)),
        _Abi(0x40000028, (281, 288), (386,)),
    ),
}

# <linux/bpf_common.h>, <linux/seccomp.h>, offsets in struct seccomp_data
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_GREATER_EQUAL = 0x15, 0x35
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST, _AT_SECOND = 0, 4, 16, 24
# Arguments are registers: of an int the kernel reads the lower half. Both processors have it first.

_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
"""Without it a filter makes the whole command slower on kernels before 5.16."""
_SECCOMP = {"x86_64": 317, "aarch64": 277}

Instruction = tuple[int, int, int, int]
"""``struct sock_filter``: code, jump if true, jump if false, operand."""


def harden() -> None:
    """Harden the calling process, which is root; what it becomes, and its children, stay so.

    Raises:
        UnsupportedError: the kernel does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _install(libc, filter_for(os.uname().machine))
    for name, number in _CAPABILITIES.items():
        _check(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"{name} could not be given up")
    # The set in the process itself too: what is inheritable outlives the bounding set.
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(24)
    _check(libc.capget(header, sets), "the capabilities could not be read")
    words = list(struct.unpack("=6I", sets.raw))
    for number in _CAPABILITIES.values():
        word, bit = divmod(number, 32)
        for kind in range(3):  # effective, permitted, inheritable
            words[3 * word + kind] &= ~(1 << bit)
    _check(libc.capset(header, struct.pack("=6I", *words)), "capabilities could not be given up")


def filter_for(machine: str) -> list[Instruction]:
    """The seccomp filter for a processor, as classic BPF."""
    blocks = [(abi.architecture, _abi_block(abi)) for abi in _ABIS[machine]]
    program: list[Instruction] = [(_LOAD, 0, 0, _AT_ARCHITECTURE)]
    for architecture, block in blocks:
        program += [(_JUMP_EQUAL, 0, len(block), architecture), *block]
    return [*program, _fails(errno.EPERM)]


def _abi_block(abi: _Abi) -> list[Instruction]:
    """What is done about the calls of one ABI; it always returns."""
    arguments: list[Instruction] = [
        (_LOAD, 0, 0, _AT_FIRST),
        *_unless(_FAMILIES, errno.EPERM),
        (_LOAD, 0, 0, _AT_SECOND),
        (_AND, 0, 0, _SOCK_TYPE_MASK),
        *_if((_SOCK_PACKET,), errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    number: list[Instruction] = [(_LOAD, 0, 0, _AT_NUMBER)]
    if abi.foreign_from:
        number += [(_JUMP_GREATER_EQUAL, 0, 1, abi.foreign_from), _fails(errno.EPERM)]
    number += _if(_IO_URING, errno.ENOSYS)  # what kernels without it say: programs go without
    number += _if(abi.refused, errno.EPERM)
    first, second = abi.judged
    number += [(_JUMP_EQUAL, 2, 0, first), (_JUMP_EQUAL, 1, 0, second), (_RETURN, 0, 0, _ALLOW)]
    return number + arguments


def _if(values: tuple[int, ...], error: int) -> list[Instruction]:
    """Fail with ``error`` if what was loaded is one of ``values``, else go on."""
    last = len(values) - 1
    jumps = [(_JUMP_EQUAL, last - i, int(i == last), value) for i, value in enumerate(values)]
    return [*jumps, _fails(error)]


def _unless(values: tuple[int, ...], error: int) -> list[Instruction]:
    """Fail with ``error`` if what was loaded is none of ``values``, else go on."""
    count = len(values)
    jumps = [(_JUMP_EQUAL, count - i, 0, value) for i, value in enumerate(values)]
    return [*jumps, _fails(error)]


def _fails(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)


def _install(libc: ctypes.CDLL, program: list[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    kept = ctypes.create_string_buffer(code, len(code))
    filters = struct.pack("@HP", len(program), ctypes.addressof(kept))  # struct sock_fprog
    libc.syscall.argtypes = (ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_char_p)
    number = _SECCOMP[os.uname().machine]
    _check(
        libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_SPEC_ALLOW, filters),
        "the kernel takes no seccomp filter",
    )


def _check(result: int, failure: str) -> None:
    if result:
        raise UnsupportedError(
            f"the command could not be hardened, so it was not run: {failure}",
            why=os.strerror(ctypes.get_errno()),
            fix="run where root has all of its rights, or only observe: `--mode audit`",
        )


__all__ = ["NOTE", "Instruction", "filter_for", "harden"]
