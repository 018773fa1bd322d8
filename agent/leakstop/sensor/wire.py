# SPDX-License-Identifier: MIT
"""What passes on the wire: a packet socket, and scapy to dissect what comes in.

DNS questions on their way out and answers on their way in, over UDP, and the first packet of
each TCP connection that leaves; IPv4 and IPv6. The kernel filters (classic BPF), so that a
download does not pass through Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Union

from leakstop.sensor.heard import DOCKER_RESOLVER, Answered, Asked, Message, Opened

_ETH_P_ALL = 0x0003
_ETH_P_IPV6 = 0x86DD
_PACKET_HOST = 0
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER = 26
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_LARGEST = 65_535
_AT_ONCE = 1_000
"""Packets read in one go, so that a flood of them does not keep the agent from its processes."""

Dissect = Callable[[bytes, bool], Union[Message, None]]


@dataclass(frozen=True, slots=True)
class Packet:
    """From the network header on."""

    data: bytes
    ipv6: bool
    outgoing: bool


class Wire:
    """An open packet socket."""

    def __init__(self, packets: socket.socket, dissect: Dissect) -> None:
        self._packets = packets
        self._dissect = dissect

    def fileno(self) -> int:
        """Readable when something was said."""
        return self._packets.fileno()

    def receive(self) -> list[Packet]:
        """What came in since the last call, as it is: quick, so that its sender still lives."""
        packets: list[Packet] = []
        with contextlib.suppress(BlockingIOError):
            while len(packets) < _AT_ONCE:
                data, (_, protocol, kind, *_) = self._packets.recvfrom(_LARGEST)
                # On loopback each packet passes twice, once in each direction.
                if kind in (_PACKET_OUTGOING, _PACKET_HOST):
                    packets.append(Packet(data, protocol == _ETH_P_IPV6, kind == _PACKET_OUTGOING))
        return packets

    def read(self, packets: Iterable[Packet]) -> Iterator[Message]:
        """What was said in them."""
        for packet in packets:
            message = self._dissect(packet.data, packet.ipv6)
            if isinstance(message, (Asked, Opened) if packet.outgoing else (Answered,)):
                yield message

    def lost(self) -> int:
        """How many packets the socket had no room for since the last call."""
        raw = self._packets.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", raw)[1])

    def close(self) -> None:
        """Close the socket."""
        self._packets.close()


def open_wire() -> tuple[Wire | None, str]:
    """Open it; or ``None``, and why not."""
    try:
        # SOCK_DGRAM: from the network header on, whatever the link.
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    except OSError:
        return None, "reading packets takes CAP_NET_RAW"
    try:
        # Here and not above: it costs half a second and 40 MiB.
        from leakstop.sensor.dissect import dissect
    except ImportError:
        packets.close()
        return None, "scapy is not installed (`pip install leakstop[portable]`)"
    # What came in before the filter stood is dissected in vain, and that is all.
    _attach_filter(packets)
    packets.setblocking(False)
    return Wire(packets, dissect), ""


# --- the filter --------------------------------------------------------------------------

# Codes of linux/bpf_common.h: load into A a byte, half, word at k; a byte, half at X + k; into
# X the length of the IPv4 header at k; A & k; jumps; return.
_LDB, _LDH, _LD, _LDB_X, _LDH_X, _LDX_IHL = 0x30, 0x28, 0x20, 0x50, 0x48, 0xB1
_AND, _JEQ, _JSET, _RET = 0x54, 0x15, 0x45, 0x06
_SYN, _ACK = 0x02, 0x10

_Line = Union[str, tuple[int, int], tuple[int, int, str, str]]
_DOCKER = int.from_bytes(socket.inet_aton(DOCKER_RESOLVER), "big")
# A label, or (code, k), or (code, k, jump if true, jump if false); "" is the next line.
_FILTER: tuple[_Line, ...] = (
    (_LDB, 0),
    (_AND, 0xF0),
    (_JEQ, 0x60, "IPv6", ""),
    (_JEQ, 0x40, "", "drop"),
    (_LDH, 6),
    (_JSET, 0x1FFF, "drop", ""),  # a later fragment has no ports
    (_LDX_IHL, 0),
    (_LDB, 9),
    (_JEQ, socket.IPPROTO_TCP, "", "UDP over IPv4"),
    (_LDB_X, 13),
    (_AND, _SYN | _ACK),
    (_JEQ, _SYN, "take", "drop"),
    "UDP over IPv4",
    (_JEQ, socket.IPPROTO_UDP, "", "drop"),
    (_LD, 12),
    (_JEQ, _DOCKER, "take", ""),
    (_LD, 16),
    (_JEQ, _DOCKER, "take", ""),
    (_LDH_X, 0),
    (_JEQ, 53, "take", ""),
    (_LDH_X, 2),
    (_JEQ, 53, "take", "drop"),
    "IPv6",
    (_LDB, 6),
    (_JEQ, socket.IPPROTO_TCP, "", "UDP over IPv6"),
    (_LDB, 53),
    (_AND, _SYN | _ACK),
    (_JEQ, _SYN, "take", "drop"),
    "UDP over IPv6",
    (_JEQ, socket.IPPROTO_UDP, "", "drop"),
    (_LDH, 40),
    (_JEQ, 53, "take", ""),
    (_LDH, 42),
    (_JEQ, 53, "take", "drop"),
    "take",
    (_RET, _LARGEST),
    "drop",
    (_RET, 0),
)


def _assemble(lines: tuple[_Line, ...]) -> list[bytes]:
    """``struct sock_filter`` for each line that is no label."""
    places: dict[str, int] = {}
    code: list[tuple[int, int, str, str]] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(code)
        else:
            code.append(line if len(line) == 4 else (*line, "", ""))
    # A jump counts from the instruction after it.
    return [
        struct.pack(
            "=HBBI",
            op,
            places[true] - here - 1 if true else 0,
            places[false] - here - 1 if false else 0,
            operand,
        )
        for here, (op, operand, true, false) in enumerate(code)
    ]


def _attach_filter(packets: socket.socket) -> None:
    instructions = _assemble(_FILTER)
    code = ctypes.create_string_buffer(b"".join(instructions))
    # struct sock_fprog: the number of instructions and a pointer to them, naturally aligned.
    header = struct.pack("@HP", len(instructions), ctypes.addressof(code))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)


__all__ = [
    "DOCKER_RESOLVER",
    "Answered",
    "Asked",
    "Message",
    "Opened",
    "Packet",
    "Wire",
    "open_wire",
]
