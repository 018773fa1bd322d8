# SPDX-License-Identifier: MIT
"""Ask the kernel for one socket (sock_diag(7)): microseconds, where /proc/net takes milliseconds.

No right is needed. Where the kernel does not answer, nobody is named.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from leakstop.model.flow import Transport

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_ANY_STATE = _NO_COOKIE = 0xFFFFFFFF

# linux/netlink.h and linux/inet_diag.h; ports and addresses are in network order.
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_INODE_AT = _HEADER.size + 4 + 48 + 16
_PATIENCE_S = 0.05
"""The answer is there when the request has been sent."""


class SockDiag:
    """Finds out who holds a socket."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
        self._netlink.settimeout(_PATIENCE_S)
        self._number = 0

    def inode(self, transport: Transport, local: tuple[str, int], remote: tuple[str, int]) -> int:
        """Inode of the socket between ``local`` and ``remote``; 0 if there is none."""
        self._number += 1
        try:
            self._netlink.send(_request(self._number, transport, local, remote))
            while True:
                answer = self._netlink.recv(4096)
                _, kind, _, number, _ = _HEADER.unpack_from(answer)
                if number == self._number:
                    break
        except (OSError, ValueError):
            return 0
        if kind != _SOCK_DIAG_BY_FAMILY:  # NLMSG_ERROR: no such socket
            return 0
        return int.from_bytes(answer[_INODE_AT : _INODE_AT + 4], "little")

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()


def _request(
    number: int, transport: Transport, local: tuple[str, int], remote: tuple[str, int]
) -> bytes:
    tcp = transport is Transport.TCP
    # "src and dst are swapped for historical reasons" (udp_dump_one in net/ipv4/udp_diag.c)
    (source, source_port), (target, target_port) = (local, remote) if tcp else (remote, local)
    addresses = [ipaddress.ip_address(address) for address in (source, target)]
    family = socket.AF_INET if addresses[0].version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_TCP if tcp else socket.IPPROTO_UDP
    body = _REQUEST.pack(family, protocol, 0, 0, _ANY_STATE)
    body += struct.pack("!HH", source_port, target_port)
    body += b"".join(address.packed.ljust(16, b"\0") for address in addresses)
    body += struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, number, 0) + body


__all__ = ["SockDiag"]
