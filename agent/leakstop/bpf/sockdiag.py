# SPDX-License-Identifier: MIT
"""Ask the kernel for sockets, or to end them (sock_diag(7)).

One socket is found in microseconds, where /proc/net takes milliseconds. Asking takes no right,
ending takes CAP_NET_ADMIN. Where the kernel does not answer, nobody is named and nothing ends.

A ``SockDiag`` sees the network namespace of the thread that made it.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterator

from leakstop.model.flow import Transport

_NETLINK_SOCK_DIAG = 4

# linux/netlink.h and linux/sock_diag.h
_ERROR, _DONE = 2, 3
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 0x1, 0x4, 0x300

# linux/inet_diag.h; ports and addresses are in network order.
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_IDENTITY = slice(_HEADER.size + 4, _HEADER.size + 4 + 48)
"""``struct inet_diag_sockid``: ports, addresses, interface, and at its end the cookie."""
_INODE_AT = _IDENTITY.stop + 16
_COOKIE = struct.Struct("=II")
_ANYBODY = bytes(40) + b"\xff" * 8
"""No ports, no addresses, and the cookie that fits every socket."""

_ANY_STATE = 0xFFFFFFFF
_CONNECTED = _ANY_STATE & ~(1 << 6 | 1 << 7 | 1 << 10)
"""All states of TCP but TIME_WAIT, CLOSE and LISTEN (net/tcp_states.h)."""
_FAMILIES = (socket.AF_INET, socket.AF_INET6)

_PATIENCE_S = 0.05
"""The answer is there when the request has been sent."""
_LARGEST = 1 << 16
"""A dump comes in messages of up to 32 KiB."""


class SockDiag:
    """Finds sockets and who holds them."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
        self._netlink.settimeout(_PATIENCE_S)
        self._number = 0

    def inode(self, transport: Transport, local: tuple[str, int], remote: tuple[str, int]) -> int:
        """Inode of the socket between ``local`` and ``remote``; 0 if there is none."""
        try:
            family, protocol, identity = _between(transport, local, remote)
            self._ask(_SOCK_DIAG_BY_FAMILY, 0, family, protocol, identity)
            for kind, message in self._answers():
                if kind != _SOCK_DIAG_BY_FAMILY:  # no such socket
                    break
                return int.from_bytes(message[_INODE_AT : _INODE_AT + 4], "little")
        except (OSError, ValueError):
            pass
        return 0

    def destroy(self, cookies: Collection[int]) -> frozenset[int]:
        """End the TCP connections with these ``cookies``; return those that were there.

        Whoever waits on one gets ECONNABORTED. The kernel finds a socket by its addresses and
        only compares the cookie, so they are looked up first.
        """
        ended = set()
        try:
            for family, identity in list(self._connected(cookies)):
                if self._destroy(family, identity) == 0:
                    ended.add(_cookie(identity))
        except (OSError, struct.error):
            pass
        return frozenset(ended)

    def refusal(self) -> str:
        """Say why no connection can be ended here; empty if it can."""
        try:
            number = self._destroy(socket.AF_INET, _ANYBODY)
        except (OSError, struct.error) as error:
            return f"the kernel does not answer ({error})"
        if number == errno.EOPNOTSUPP:
            return "the kernel was built without CONFIG_INET_DIAG_DESTROY"
        # Nobody has these ports, so this is how a kernel says that it looked.
        return "" if number == errno.ENOENT else os.strerror(number).lower()

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def _connected(self, cookies: Collection[int]) -> Iterator[tuple[int, bytes]]:
        """The connections with these ``cookies``, as family and identity."""
        for family in _FAMILIES:
            flags = _NLM_F_DUMP
            self._ask(_SOCK_DIAG_BY_FAMILY, flags, family, socket.IPPROTO_TCP, _ANYBODY)
            for kind, message in self._answers():
                if kind != _SOCK_DIAG_BY_FAMILY:
                    break
                identity = message[_IDENTITY]
                if _cookie(identity) in cookies:
                    yield family, identity

    def _destroy(self, family: int, identity: bytes) -> int:
        """Error number of ending that socket; 0 if it has ended."""
        self._ask(_SOCK_DESTROY, _NLM_F_ACK, family, socket.IPPROTO_TCP, identity)
        for _, message in self._answers():
            return -int(struct.unpack_from("=i", message, _HEADER.size)[0])
        return errno.EIO

    def _ask(self, kind: int, flags: int, family: int, protocol: int, identity: bytes) -> None:
        self._number += 1
        states = _CONNECTED if flags == _NLM_F_DUMP else _ANY_STATE
        body = _REQUEST.pack(family, protocol, 0, 0, states) + identity
        length = _HEADER.size + len(body)
        head = _HEADER.pack(length, kind, _NLM_F_REQUEST | flags, self._number, 0)
        self._netlink.send(head + body)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        """The messages that answer the last request, up to the one that ends them."""
        while True:
            data = self._netlink.recv(_LARGEST)
            while len(data) >= _HEADER.size:
                length, kind, _, number, _ = _HEADER.unpack_from(data)
                if number == self._number:  # else the late answer to an earlier one
                    yield kind, data[:length]
                    if kind in (_ERROR, _DONE):
                        return
                data = data[max(length + 3 & ~3, _HEADER.size) :]


def _between(
    transport: Transport, local: tuple[str, int], remote: tuple[str, int]
) -> tuple[int, int, bytes]:
    """Family, protocol and identity of the socket between ``local`` and ``remote``."""
    tcp = transport is Transport.TCP
    # "src and dst are swapped for historical reasons" (udp_dump_one in net/ipv4/udp_diag.c)
    (source, source_port), (target, target_port) = (local, remote) if tcp else (remote, local)
    addresses = [ipaddress.ip_address(address) for address in (source, target)]
    family = socket.AF_INET if addresses[0].version == 4 else socket.AF_INET6
    packed = b"".join(address.packed.ljust(16, b"\0") for address in addresses)
    identity = struct.pack("!HH", source_port, target_port) + packed + bytes(4) + b"\xff" * 8
    return family, socket.IPPROTO_TCP if tcp else socket.IPPROTO_UDP, identity


def _cookie(identity: bytes) -> int:
    low, high = _COOKIE.unpack_from(identity, len(identity) - _COOKIE.size)
    return int(low | high << 32)


__all__ = ["SockDiag"]
