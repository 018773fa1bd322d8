# SPDX-License-Identifier: MIT
"""Every frame that reached the other side, whatever it is: the ground truth of "0 bytes left".

A server only sees what its protocol gives it. The tap reads the wire on the services' side, so
that a tunnel's outer packet, a raw frame or an echo request counts as well as a connection.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from lab.namespace import Namespace

# <linux/if_ether.h>, <linux/if_packet.h>, <asm-generic/socket.h>
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_SO_RCVBUFFORCE = 33
_BUFFER = 8 << 20
_LARGEST = 1 << 17  # a veth carries what the sender has not cut into segments yet
_TCP, _ICMPV6 = 6, 58
_NEIGHBOUR_DISCOVERY = range(133, 138)  # RFC 4861


@dataclass(frozen=True)
class Frame:
    """One frame."""

    raw: bytes
    target: str
    """Destination address, empty where it is not IP."""
    protocol: int
    """IP protocol number, of the first header behind IP."""
    payload: bytes
    """Behind the TCP header, else behind the IP header; empty for neighbour discovery."""


class Tap:
    """Records what arrives at one device from now on; a context manager."""

    def __init__(self, namespace: Namespace, device: str) -> None:
        self._socket = namespace.call(lambda: _listen(device))
        self._frames: list[Frame] = []

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def frames(self) -> list[Frame]:
        """What has arrived so far."""
        with suppress(BlockingIOError):
            while True:
                self._frames.append(_read(self._socket.recv(_LARGEST)))
        return self._frames

    def holds(self, needle: bytes) -> bool:
        """Whether a frame to anywhere holds ``needle``, in whatever layer."""
        return any(needle in frame.raw for frame in self.frames)

    def payload_to(self, addresses: Collection[str]) -> int:
        """Bytes of payload that arrived for these addresses."""
        return sum(len(frame.payload) for frame in self.frames if frame.target in addresses)


def _listen(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    made.bind((device, _ETH_P_ALL))
    return made


def _read(raw: bytes) -> Frame:
    (kind,) = struct.unpack_from("!H", raw, 12)
    if kind == _ETH_P_IP and len(raw) >= 34:
        protocol, target = raw[23], str(IPv4Address(raw[30:34]))
        start, end = 14 + (raw[14] & 0xF) * 4, 14 + struct.unpack_from("!H", raw, 16)[0]
    elif kind == _ETH_P_IPV6 and len(raw) >= 54:
        protocol, target = raw[20], str(IPv6Address(raw[38:54]))
        start, end = 54, 54 + struct.unpack_from("!H", raw, 18)[0]
    else:
        return Frame(raw, "", 0, raw[14:])
    payload = raw[start:end]
    if protocol == _TCP and len(payload) > 12:
        payload = payload[(payload[12] >> 4) * 4 :]
    elif protocol == _ICMPV6 and payload and payload[0] in _NEIGHBOUR_DISCOVERY:
        payload = b""
    return Frame(raw, target, protocol, payload)
