# SPDX-License-Identifier: MIT
"""Packets that a program makes by hand. Sent as text into the lab: only the standard library."""

from __future__ import annotations

import inspect
import socket
import struct


def udp(target: str, port: int, payload: bytes, source: str, source_port: int = 4242) -> bytes:
    """An IPv4 packet; UDP without a checksum."""
    segment = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    return ipv4(target, 17, segment, source)


def ipv4(target: str, protocol: int, payload: bytes, source: str, fragment: int = 0) -> bytes:
    """An IPv4 packet of any protocol."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", total ^ 0xFFFF) + head[12:] + payload


def tcp(target: str, port: int, payload: bytes, source: str) -> bytes:
    """A TCP segment over IPv4, in the middle of a connection that there is not."""
    head = struct.pack("!HHIIBBHHH", 4242, port, 1, 1, 5 << 4, 0x18, 1024, 0, 0)
    return ipv4(target, 6, head + payload, source)


def question(name: str) -> bytes:
    """A DNS query for an address."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def send_frame(device: str, packet: bytes, hardware: str) -> None:
    """Put an IPv4 packet on a device, past the network stack."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((device, 0x0800))
        target = bytes.fromhex(hardware.replace(":", ""))
        try:
            raw.send(target + raw.getsockname()[4] + b"\x08\0" + packet)
        except OSError as error:
            print("not sent:", error)


def source() -> str:
    """This module's functions, to be put in front of a program."""
    parts = [inspect.getsource(part) for part in (udp, tcp, ipv4, question, send_frame)]
    return "import socket, struct\n" + "\n".join(parts)
