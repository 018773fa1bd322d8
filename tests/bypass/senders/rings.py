# SPDX-License-Identifier: MIT
"""io_uring: sockets are made, connected and written without a system call for each."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import time

from bypass.case import TCP_PORT, Parcel, benign, case
from bypass.senders.streams import finish

# <asm-generic/unistd.h>, <linux/io_uring.h>
_SETUP, _ENTER = 425, 426
_SENDMSG, _CONNECT, _SEND, _SOCKET = 9, 16, 26, 45
_SQPOLL, _ASYNC = 1 << 1, 1 << 4
_GETEVENTS, _WAKEUP = 1, 2
_NEED_WAKEUP = 1
_SQ_RING, _CQ_RING, _SQES = 0, 0x8000000, 0x10000000
_PATIENCE_S = 5

_libc = ctypes.CDLL(None, use_errno=True)
# Under `leakstop run` there is no ring at all: programs that know io_uring know how to do without.
_ring = {"errors": ("EPERM", "ENOSYS"), "unheard": ("ENOSYS",)}
_tcp = {"port": TCP_PORT, "protocol": "tcp", "rule": "tcp://{friend}:{port}", **_ring}
_instead_tcp, _instead_udp = {"twin": "uring-or-tcp"}, {"twin": "uring-or-udp"}


class Ring:
    """A ring with one request in flight."""

    def __init__(self, *, polled: bool = False, worker: bool = False) -> None:
        params = bytearray(120)
        struct.pack_into("=I", params, 8, _SQPOLL if polled else 0)
        raw = (ctypes.c_char * 120).from_buffer(params)
        self._fd = _call(_SETUP, 4, ctypes.byref(raw))
        self._polled, self._flags = polled, _ASYNC if worker else 0
        # struct io_sqring_offsets at 40, struct io_cqring_offsets at 80
        self._sq = struct.unpack_from("=10I", params, 40)
        self._cq = struct.unpack_from("=10I", params, 80)
        self._submission = mmap.mmap(self._fd, 4096, offset=_SQ_RING)
        self._completion = mmap.mmap(self._fd, 4096, offset=_CQ_RING)
        self._entries = mmap.mmap(self._fd, 4096, offset=_SQES)
        self._count = 0

    def do(self, operation: int, fd: int, address: int, size: int, offset: int = 0) -> int:
        """Carry out one request and return its result."""
        entry = struct.pack("=BBHiQQI", operation, self._flags, 0, fd, offset, address, size)
        slot = self._count % 4
        self._entries[slot * 64 : slot * 64 + 64] = entry + bytes(64 - len(entry))
        self._put(self._submission, self._sq[6] + 4 * slot, slot)
        self._count += 1
        self._put(self._submission, self._sq[1], self._count)
        self._enter()
        head = self._count - 1
        at = self._cq[5] + (head & self._get(self._completion, self._cq[2])) * 16
        (result,) = struct.unpack_from("=i", self._completion, at + 8)
        self._put(self._completion, self._cq[0], self._count)
        if result < 0:
            raise OSError(-result, f"io_uring operation {operation}")
        return int(result)

    def _enter(self) -> None:
        if not self._polled:
            _call(_ENTER, self._fd, 1, 1, _GETEVENTS, None, 0)
        elif self._get(self._submission, self._sq[4]) & _NEED_WAKEUP:
            _call(_ENTER, self._fd, 0, 0, _WAKEUP, None, 0)
        deadline = time.monotonic() + _PATIENCE_S
        while self._get(self._completion, self._cq[1]) < self._count:
            if time.monotonic() > deadline:
                raise TimeoutError("the request does not complete")
            time.sleep(0.0005)

    @staticmethod
    def _get(ring: mmap.mmap, at: int) -> int:
        return int(struct.unpack_from("=I", ring, at)[0])

    @staticmethod
    def _put(ring: mmap.mmap, at: int, value: int) -> None:
        struct.pack_into("=I", ring, at, value)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _name(parcel: Parcel) -> ctypes.Array[ctypes.c_char]:
    name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", parcel.port)
    return ctypes.create_string_buffer(name + socket.inet_aton(parcel.to) + bytes(8), 16)


def _stream(parcel: Parcel, ring: Ring) -> None:
    made = ring.do(_SOCKET, socket.AF_INET, 0, 0, socket.SOCK_STREAM)
    name, data = _name(parcel), ctypes.create_string_buffer(parcel.data)
    ring.do(_CONNECT, made, ctypes.addressof(name), 0, 16)
    ring.do(_SEND, made, ctypes.addressof(data), len(parcel.data))
    finish(socket.socket(fileno=made))


def _datagram(parcel: Parcel, ring: Ring) -> None:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    name, data = _name(parcel), ctypes.create_string_buffer(parcel.data)
    part = (ctypes.c_size_t * 2)(ctypes.addressof(data), len(parcel.data))
    # struct msghdr: name, its length, the parts, how many, no control data, no flags
    head = (ctypes.c_size_t * 7)(ctypes.addressof(name), 16, ctypes.addressof(part), 1, 0, 0, 0)
    ring.do(_SENDMSG, made.fileno(), ctypes.addressof(head), 1)


@case("uring-tcp", **_tcp, **_instead_tcp)
def stream_inline(parcel: Parcel) -> None:
    """Socket, connect and send, in the caller's context where the kernel can."""
    _stream(parcel, Ring())


@case("uring-tcp-async", **_tcp, **_instead_tcp)
def stream_worker(parcel: Parcel) -> None:
    """The same in a kernel worker thread."""
    _stream(parcel, Ring(worker=True))


@case("uring-tcp-sqpoll", **_tcp, **_instead_tcp)
def stream_polled(parcel: Parcel) -> None:
    """The same by the thread that polls the queue: no system call at all."""
    _stream(parcel, Ring(polled=True))


@case("uring-udp", **_ring, **_instead_udp)
def datagram_inline(parcel: Parcel) -> None:
    """A datagram with an address."""
    _datagram(parcel, Ring())


@case("uring-udp-async", **_ring, **_instead_udp)
def datagram_worker(parcel: Parcel) -> None:
    """The same in a kernel worker thread."""
    _datagram(parcel, Ring(worker=True))


@case("uring-udp-sqpoll", **_ring, **_instead_udp)
def datagram_polled(parcel: Parcel) -> None:
    """The same by the thread that polls the queue."""
    _datagram(parcel, Ring(polled=True))


@benign("uring-or-tcp")
def ring_or_stream(parcel: Parcel) -> None:
    """As programs do it: without a ring, by system calls."""
    try:
        ring = Ring(worker=True)
    except OSError:
        with socket.create_connection((parcel.to, parcel.port)) as connection:
            finish(connection, parcel.data)
    else:
        _stream(parcel, ring)


@benign("uring-or-udp")
def ring_or_datagram(parcel: Parcel) -> None:
    """As programs do it: without a ring, by system calls."""
    try:
        ring = Ring(polled=True)
    except OSError:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.sendto(parcel.data, (parcel.to, parcel.port))
    else:
        _datagram(parcel, ring)
