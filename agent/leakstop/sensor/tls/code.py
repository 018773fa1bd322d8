# SPDX-License-Identifier: MIT
"""Where in a function a breakpoint is cheap, and what a function calls.

On x86_64 the kernel emulates ``push``, jumps, calls and ``nop``; any other instruction is
executed by single-stepping, 15 us instead of 0.8 (arch/x86/kernel/uprobes.c). Functions mostly
begin with something else, so what stands before the first cheap instruction is decoded: only
what is known to leave the arguments alone. What is not known ends the search, and the function's
own address is taken. On aarch64 that is always so: the kernel simulates or steps alike there.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import IntEnum

LOOK = 48
"""Bytes of a function that are decoded: prologues are shorter."""

_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_STACK_GUARD = re.compile(rb"\x64\x48\x8b\x04\x25\x28\x00\x00\x00")  # mov rax, fs:0x28
_SUB_RSP = re.compile(rb"\x48\x83\xec.|\x48\x81\xec....", re.DOTALL)
_KEEP_RAX = re.compile(rb"\x48\x89\x44\x24.", re.DOTALL)  # mov [rsp+n], rax
# Go's check of the stack: cmp rsp, [r14+16], or first lea r12, [rsp-n]
_GO_STACK = re.compile(
    rb"\x49\x3b\x66\x10|\x4d\x3b\x66\x10|\x4c\x8d\x64\x24.|\x4c\x8d\xa4\x24....", re.DOTALL
)
_HARMLESS = (_STACK_GUARD, _SUB_RSP, _KEEP_RAX, _GO_STACK)
_CHEAP = re.compile(
    rb"[\x50-\x57]|\x41[\x50-\x57]"  # push
    rb"|[\x70-\x7f\xeb]|\x0f[\x80-\x8f]|[\xe8\xe9]"  # jumps and call
    rb"|\x90"
)
_CALL = re.compile(rb"\xe8(?=(....))", re.DOTALL)
_CALL_SIZE = 5
_MAKES_ROOM = re.compile(rb"\x41?[\x50-\x57]|" + _SUB_RSP.pattern, re.DOTALL)
_WIDE = 0x48
"""Prefix of instructions with 64 bits."""
_DISTANCE = (0, 1, 4)
"""Bytes of it, by the mode of an instruction with memory."""
_TEST, _MOVES_TO_RM, _MOVES_TO_REG = (0x84, 0x85), (0x31, 0x89), (0x33, 0x8B)
_BODY_MAX = 1 << 16
_RSP = 4


class Register(IntEnum):
    """By its number in an instruction."""

    RAX = 0
    RCX = 1
    RDX = 2
    RBX = 3
    RSI = 6
    RDI = 7


C_ARGUMENTS = frozenset((Register.RDI, Register.RSI, Register.RDX, Register.RCX))
GO_ARGUMENTS = frozenset((Register.RAX, Register.RBX, Register.RCX))


def keeps_fourth(code: bytes) -> bool:
    """Whether a function of x86_64 begins with keeping its fourth argument for later."""
    at = len(_ENDBR64) if code.startswith(_ENDBR64) else 0
    while at + 2 < len(code):
        if room := _MAKES_ROOM.match(code, at):
            at = room.end()
            continue
        prefix, operation, modrm = code[at : at + 3]
        if prefix & 0xF8 != _WIDE or operation != _MOVES_TO_RM[1]:
            return False
        if (modrm >> 3 & 7) | (prefix & 4) << 1 == Register.RCX:
            return True
        mode, to_rm = modrm >> 6, (modrm & 7) | (prefix & 1) << 3
        if mode == len(_DISTANCE):
            if to_rm == Register.RCX:
                return False
            at += 3
        else:  # to memory, by a register and how far from it; by rsp takes a byte more
            at += 3 + _DISTANCE[mode] + (to_rm & 7 == _RSP)
    return False


def cheap_place(code: bytes, arguments: Collection[int]) -> int | None:
    """Bytes from the start of a function to its first cheap instruction.

    ``None``: something that is not known stands before it, or it is no function.
    """
    at = len(_ENDBR64) if code.startswith(_ENDBR64) else 0
    while at < len(code):
        if _CHEAP.match(code, at):
            return at
        size = _harmless(code, at, arguments)
        if not size:
            return None
        at += size
    return None


def _harmless(code: bytes, at: int, arguments: Collection[int]) -> int:
    """Size of an instruction that leaves memory of others and ``arguments`` alone, else 0."""
    for known in _HARMLESS:
        if match := known.match(code, at):
            return match.end() - at
    return _between_registers(code, at, arguments)


def _between_registers(code: bytes, at: int, arguments: Collection[int]) -> int:
    """``test``, ``xor`` and ``mov`` of two registers."""
    prefix = code[at] if code[at] & 0xF0 == 0x40 else 0
    body = code[at + bool(prefix) :][:2]
    if len(body) < 2 or body[1] < 0xC0:  # with memory
        return 0
    operation, modrm = body
    to_rm = (modrm & 7) | (prefix & 1) << 3
    to_reg = (modrm >> 3 & 7) | (prefix & 4) << 1
    written = None
    if operation in _MOVES_TO_RM:
        written = to_rm
    elif operation in _MOVES_TO_REG:
        written = to_reg
    elif operation not in _TEST:
        return 0
    if written == _RSP or written in arguments:
        return 0
    return bool(prefix) + 2


def calls(code: bytes, address: int) -> set[int]:
    """Addresses that the function at ``address`` may call.

    The bytes are not decoded, so some are no instructions at all: an address counts only when
    there is another reason to believe in it.
    """
    found = set()
    for match in _CALL.finditer(code[:_BODY_MAX]):
        distance = int.from_bytes(match.group(1), "little", signed=True)
        found.add(address + match.start() + _CALL_SIZE + distance)
    return found


__all__ = [
    "C_ARGUMENTS",
    "GO_ARGUMENTS",
    "LOOK",
    "Register",
    "calls",
    "cheap_place",
    "keeps_fourth",
]
