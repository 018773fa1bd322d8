# SPDX-License-Identifier: MIT
"""Which interfaces carry a program: those that lead off this machine, and the loopback.

A packet often leaves over two interfaces, one on top of the other, and is judged at both. Left
out is what leads to a container or a virtual machine here: what those send leaves over another
interface, and is judged there. That holds too for whatever a job builds itself.

========================  =======  =================================================
interface                 answers  judged
========================  =======  =================================================
hardware, VLAN, bond,     yes      yes
tunnel, tun
loopback                  yes      no, it arrives here
bridge                    yes      at its ports; a container engine's has no program
port of a bridge:         no       no, a container or a virtual machine
veth, tun
veth without a bridge     yes      yes, unless there is hardware: then this is the
                                   machine itself, and behind it is a container
ifb                       no       no, what came in passes it
========================  =======  =================================================
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from leakstop.bpf import values
from leakstop.bpf.libbpf import BpfError
from leakstop.bpf.tc import Attachment
from leakstop.sensor.links import ETHERNET, LOOPBACK, Changes, Interface, read_interfaces
from leakstop.sensor.locals import container_bridges

_RTMGRP_LINK = 0x1
_SO_NETNS_COOKIE = 71
_ETHERNET_HEADER = 14
_NOTHING = bytes(values.Device())
"""Of an interface that no longer counts: no question is marked for it, nothing is judged at it."""


class Table(Protocol):
    """The kernel's list of devices."""

    def update(self, key: bytes, value: bytes) -> None:
        """Set one entry."""

    def delete(self, key: bytes) -> None:
        """Remove one entry."""


class Uplinks:
    """Attaches to the interfaces that count, to later ones as they appear."""

    def __init__(
        self,
        table: Table,
        attach: Callable[[int], Attachment],
        directory: Path,
        read: Callable[[], Collection[Interface]] = read_interfaces,
    ) -> None:
        """Pins go to ``directory``."""
        self._table = table
        self._attach = attach
        self._directory = directory
        self._read = read
        self._netns = _netns_cookie()
        self._held: dict[int, Attachment] = {}
        self._changes = Changes(_RTMGRP_LINK)

    def start(self) -> None:
        """Attach to what is there.

        Raises:
            BpfError: the kernel refuses.
        """
        for index, device in self._missing().items():
            self._cover(index, device)

    def wake(self, epoll: int) -> None:
        """Let the epoll instance ``epoll`` wake up for changes too."""
        self._changes.wake(epoll)

    def follow(self) -> int:
        """Look again if anything has changed; return how many interfaces could not be covered."""
        if not self._changes.any():
            return 0
        tried = self._missing()
        for index, device in tried.items():
            with contextlib.suppress(BpfError):  # it may be gone again
                self._cover(index, device)
        # One that is new since then has its own turn.
        return len(tried.keys() & self._missing().keys())

    def restore(self) -> int:
        """Attach again what somebody has taken off; return how many those were."""
        off = [index for index, attachment in self._held.items() if not attachment.holds()]
        if not off:
            return 0
        there = {interface.index for interface in self._read()}
        for index in off:
            self._held.pop(index).close()
        for index, device in self._missing().items():
            with contextlib.suppress(BpfError):
                self._cover(index, device)
        return len(there.intersection(off))

    def close(self) -> None:
        """Let go; what is pinned stays until its pin goes."""
        for attachment in self._held.values():
            attachment.close()
        self._held.clear()
        self._changes.close()

    def _missing(self) -> dict[int, bytes]:
        """Bring the table up to date; return what has no program yet."""
        there = self._read()
        wanted = {index: bytes(device) for index, device in devices(there, self._netns).items()}
        for index in self._held.keys() - {interface.index for interface in there}:
            self._table.delete(_key(index))
            self._held.pop(index).close()
        # A program stays where it is: a question that it has to answer may be under way.
        for index in self._held:
            self._table.update(_key(index), wanted.get(index, _NOTHING))
        return {index: wanted[index] for index in sorted(wanted.keys() - self._held.keys())}

    def _cover(self, index: int, device: bytes) -> None:
        attachment = self._attach(index)
        try:
            attachment.pin(self._directory)
            # Last: a question is marked only where there is something to answer it.
            self._table.update(_key(index), device)
        except BpfError:
            attachment.close()
            raise
        self._held[index] = attachment


def devices(interfaces: Collection[Interface], netns: int) -> dict[int, values.Device]:
    """What the kernel side has to know of the interfaces that carry the program, by index."""
    engines = container_bridges(interfaces)
    hardware = any(not i.kind and i.link_type != LOOPBACK for i in interfaces)
    found = {}
    for interface in interfaces:
        loopback = interface.link_type == LOOPBACK
        inward = (
            interface.kind == "ifb"
            or (interface.kind in ("veth", "tun") and interface.master)
            or (interface.kind == "veth" and hardware)
            or interface.name in engines
        )
        if not inward:
            found[interface.index] = values.Device(
                netns=netns,
                header=_ETHERNET_HEADER if interface.link_type in (ETHERNET, LOOPBACK) else 0,
                loopback=loopback,
                uplink=not loopback and interface.kind != "bridge",
            )
    return found


def _netns_cookie() -> int:
    """The kernel's name for our network namespace; sockets keep it too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return int.from_bytes(
            any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little"
        )


def _key(index: int) -> bytes:
    return index.to_bytes(4, "little")


__all__ = ["Uplinks", "devices"]
