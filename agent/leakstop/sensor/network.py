# SPDX-License-Identifier: MIT
"""Changes to the machine's network while the guard stands: netfilter, routes, addresses.

The guard judges sockets and what leaves over an uplink, so none of this opens a way. It is how
an attacker would try, and it says why connections fail. But traffic control has the last word,
after the guard's program on an uplink: what rewrites packets there does open one.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator

from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor.links import attributes, messages
from leakstop.sensor.timer import now_ns
from leakstop.sensor.waking import join

# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/netfilter/nfnetlink.h>, …/nf_tables.h
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_NFTABLES_GROUP = 7
_ROUTE_GROUPS = (4, 5, 7, 8, 9, 11, 19)
"""RTNLGRP_ of traffic control, addresses, routes and rules. Who makes an interface is not told."""
_NEW_GENERATION = 10 << 8 | 15
"""NFNL_SUBSYS_NFTABLES and NFT_MSG_NEWGEN: a batch of changes was committed."""
_GEN_PROC_PID = 2
_NFGENMSG_SIZE = 4
_WORDS = {20: "an address", 21: "an address",
          24: "a route", 25: "a route", 32: "a routing rule", 33: "a routing rule"}  # fmt: skip
"""By RTM_NEW… and RTM_DEL…."""
_FILTERS = (44, 48)
"""RTM_NEWTFILTER, RTM_NEWACTION"""
_REWRITING = (b"\0pedit\0", b"\0nat\0", b"\0skbmod\0")
"""Actions (TCA_ACT_KIND) that change addresses. A BPF program is told when it is loaded."""
_BUFFER = 1 << 17
_ROUNDS = 64
"""Reads at a time: whoever changes without end must not keep the agent from all else."""


class NetworkWatch:
    """Tells who changed the network, as far as netlink does: a follower of the sensor."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def start(self) -> tuple[str, ...]:
        """Listen; a machine that does not let us is guarded all the same."""
        with contextlib.suppress(OSError):
            self._listen(_NETLINK_ROUTE, _ROUTE_GROUPS)
        with contextlib.suppress(OSError):  # a kernel without nf_tables has no such rules
            self._listen(_NETLINK_NETFILTER, (_NFTABLES_GROUP,))
        return ()

    def wake(self, epoll: int) -> None:
        """Wake the sensor for a change."""
        join(epoll, *self._sockets.values())

    def see(self, event: Event) -> Iterable[Event]:
        """Take in an event; none of them matters here."""
        return ()

    def follow(self) -> Iterator[Event]:
        """Return the changes since."""
        told: set[tuple[int, Trick, str]] = set()
        for family, netlink in self._sockets.items():
            for pid, trick, what in _changes(family, netlink):
                if (pid, trick, what) not in told:
                    told.add((pid, trick, what))
                    yield Tamper(now_ns(), pid, trick, what)

    def close(self) -> None:
        """Listen no more."""
        for netlink in self._sockets.values():
            netlink.close()
        self._sockets.clear()

    def _listen(self, family: int, groups: Iterable[int]) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        netlink = socket.socket(socket.AF_NETLINK, kind, family)
        try:
            netlink.bind((0, 0))
            for group in groups:
                netlink.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            netlink.close()
            raise
        self._sockets[family] = netlink


def _changes(family: int, netlink: socket.socket) -> Iterator[tuple[int, Trick, str]]:
    """Who changed what, of all that waits."""
    for _ in range(_ROUNDS):
        try:
            data = netlink.recv(_BUFFER)
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # more was changed than is told
                continue
            return
        for message in messages(data):
            if family == _NETLINK_NETFILTER:
                if message.kind == _NEW_GENERATION:
                    pid = attributes(message.body[_NFGENMSG_SIZE:]).get(_GEN_PROC_PID, b"")
                    yield int.from_bytes(pid, "big"), Trick.FIREWALL, "netfilter's rules"
            # 0 is the kernel itself: the routes of an address, say.
            elif message.sender and message.kind in _WORDS:
                yield message.sender, Trick.ROUTES, _WORDS[message.kind]
            elif message.kind in _FILTERS:
                for name in _REWRITING:
                    if name in message.body:
                        action = name.strip(b"\0").decode()
                        what = f"an action `{action}` of traffic control"
                        yield message.sender, Trick.REWRITE, what


__all__ = ["NetworkWatch"]
