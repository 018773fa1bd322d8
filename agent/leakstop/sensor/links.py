# SPDX-License-Identifier: MIT
"""Network interfaces, asked of the kernel (rtnetlink(7)); no right is needed.

``/sys/class/net`` has the same facts, but of the network namespace of whoever mounted ``/sys``,
which need not be ours.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from leakstop.sensor.waking import join

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>
_NETLINK_ROUTE = 0
_NLM_F_REQUEST_DUMP = 0x001 | 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 3, 10, 18
_IFLA_INFO_KIND = 1
_NLA_TYPE_MASK = 0x3FFF

ETHERNET, LOOPBACK = 1, 772
"""``ifi_type``: ARPHRD_ETHER and ARPHRD_LOOPBACK of <linux/if_arp.h>."""

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
    link_type: int = ETHERNET
    """What stands in front of the IP header (``ARPHRD_…``)."""


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
        for message in messages(netlink.recv(1 << 16)):
            if message.kind in (_NLMSG_DONE, _NLMSG_ERROR):
                return
            if message.kind == _RTM_NEWLINK and len(message.body) >= _INTERFACE.size:
                yield interface(message.body)


class Message(NamedTuple):
    """One message of netlink."""

    kind: int
    body: bytes
    sender: int
    """Who asked for what it tells: mostly its process, 0 for the kernel."""


def messages(data: bytes) -> Iterator[Message]:
    """Take a datagram apart."""
    while len(data) >= _MESSAGE.size:
        length, kind, _, _, sender = _MESSAGE.unpack_from(data)
        yield Message(kind, data[_MESSAGE.size : length], sender)
        data = data[max(_aligned(length), _MESSAGE.size) :]


def interface(body: bytes) -> Interface:
    """Read the body of an ``RTM_NEWLINK`` message."""
    _, link_type, index, _, _ = _INTERFACE.unpack_from(body)
    found = attributes(body[_INTERFACE.size :])
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    return Interface(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        kind=_text(info.get(_IFLA_INFO_KIND, b"")),
        master=int.from_bytes(found.get(_IFLA_MASTER, b""), "little"),
        link_type=link_type,
    )


class Changes:
    """Tells that something of the network has changed; what it was has to be read anew."""

    def __init__(self, groups: int) -> None:
        """``groups``: bits of ``RTMGRP_…`` of <linux/rtnetlink.h>."""
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
        self._netlink.bind((0, groups))

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up for changes too."""
        join(epoll, self._netlink)

    def any(self) -> bool:
        """Take what waits, and say whether there was anything."""
        changed = False
        while True:
            try:
                self._netlink.recv(1 << 16)
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # so much has changed that some was dropped
                    raise
            changed = True

    def close(self) -> None:
        """Stop listening."""
        self._netlink.close()


def attributes(data: bytes) -> dict[int, bytes]:
    """Take the attributes behind a message's fixed part apart, by their type."""
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


__all__ = [
    "ETHERNET",
    "LOOPBACK",
    "Changes",
    "Interface",
    "Message",
    "attributes",
    "interface",
    "messages",
    "read_interfaces",
]
