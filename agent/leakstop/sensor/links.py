# SPDX-License-Identifier: MIT
"""Network interfaces, asked of the kernel (rtnetlink(7)); no right is needed.

``/sys/class/net`` has the same facts, but of the network namespace of whoever mounted ``/sys``,
which need not be ours.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>
_NETLINK_ROUTE = 0
_NLM_F_REQUEST_DUMP = 0x001 | 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 3, 10, 18
_IFLA_INFO_KIND = 1
_NLA_TYPE_MASK = 0x3FFF

_MESSAGE = struct.Struct("=IHHII")
_INTERFACE = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface of this namespace."""

    index: int
    name: str
    kind: str
    """``bridge``, ``veth``, ``vlan``, …; empty for hardware and loopback."""
    master: int
    """Index of the bridge or bond that it is a port of; 0 without one."""


def read_interfaces() -> tuple[Interface, ...]:
    """All interfaces; none where the kernel does not tell (some sandboxes)."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as netlink:
            netlink.settimeout(_PATIENCE_S)
            size = _MESSAGE.size + _INTERFACE.size
            question = _MESSAGE.pack(size, _RTM_GETLINK, _NLM_F_REQUEST_DUMP, 1, 0)
            netlink.send(question + _INTERFACE.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
            return tuple(_answers(netlink))
    except OSError:
        return ()


def _answers(netlink: socket.socket) -> Iterator[Interface]:
    while True:
        for kind, body in messages(netlink.recv(1 << 16)):
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                return
            if kind == _RTM_NEWLINK:
                yield interface(body)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take a datagram apart: type and body of each message."""
    while len(data) >= _MESSAGE.size:
        length, kind, *_ = _MESSAGE.unpack_from(data)
        yield kind, data[_MESSAGE.size : length]
        data = data[max(_aligned(length), _MESSAGE.size) :]


def interface(body: bytes) -> Interface:
    """Read the body of an ``RTM_NEWLINK`` message."""
    _, _, index, _, _ = _INTERFACE.unpack_from(body)
    found = _attributes(body[_INTERFACE.size :])
    info = _attributes(found.get(_IFLA_LINKINFO, b""))
    return Interface(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        kind=_text(info.get(_IFLA_INFO_KIND, b"")),
        master=int.from_bytes(found.get(_IFLA_MASTER, b""), "little"),
    )


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        found[kind & _NLA_TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[max(_aligned(length), _ATTRIBUTE.size) :]
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")


__all__ = ["Interface", "interface", "messages", "read_interfaces"]
