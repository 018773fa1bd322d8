# SPDX-License-Identifier: MIT
"""Below IP: packet sockets and other families. What leaves this way passes no socket hook."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct

from bypass.case import Parcel, case
from bypass.senders.echoes import ipv4, udp

# <linux/socket.h>, <linux/if_packet.h>, <linux/if_ether.h>, <linux/if_xdp.h>
_AF_XDP, _SOCK_PACKET, _SOL_PACKET, _SOL_XDP = 44, 10, 263, 283
_TX_RING, _QDISC_BYPASS = 13, 20
_ETH_P_IP = 0x0800
_EVERYONE = b"\xff" * 6
_UPLINK = "job0"
_BLOCK = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_packet = {"protocol": "other", "at_socket": True, "twin": "udp-sendto", "scopes": ("run",)}


def frame(parcel: Parcel) -> bytes:
    """An Ethernet frame with a UDP datagram in it, for whoever is on the link."""
    inside = ipv4(parcel.to, socket.IPPROTO_UDP, udp(parcel.data))
    return _EVERYONE + bytes(6) + struct.pack("!H", _ETH_P_IP) + inside


def _packet_socket() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((_UPLINK, 0))
    return made


@case("packet", **_packet)
def packet(parcel: Parcel) -> None:
    """Whole frames."""
    _packet_socket().send(frame(parcel))


@case("packet-datagram", **_packet)
def packet_datagram(parcel: Parcel) -> None:
    """The kernel writes the link header."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    inside = ipv4(parcel.to, socket.IPPROTO_UDP, udp(parcel.data))
    made.sendto(inside, (_UPLINK, _ETH_P_IP, 0, 0, _EVERYONE))


@case("packet-obsolete", **_packet)
def packet_obsolete(parcel: Parcel) -> None:
    """SOCK_PACKET: asked for as AF_INET, becomes AF_PACKET."""
    made = _libc.socket(socket.AF_INET, _SOCK_PACKET, socket.htons(_ETH_P_IP))
    _check(made)
    name = struct.pack("=H14sH", socket.AF_INET, _UPLINK.encode(), socket.htons(_ETH_P_IP))
    data = frame(parcel)
    _check(_libc.sendto(made, data, len(data), 0, name, len(name)))


@case("packet-bypass", **_packet)
def packet_bypass(parcel: Parcel) -> None:
    """Past the queue, and with it past tc."""
    made = _packet_socket()
    made.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
    made.send(frame(parcel))


@case("packet-ring", **_packet)
def packet_ring(parcel: Parcel) -> None:
    """Frames out of shared memory."""
    made = _packet_socket()
    made.setsockopt(_SOL_PACKET, _TX_RING, struct.pack("=4I", _BLOCK, 1, _BLOCK // 2, 2))
    ring, data = mmap.mmap(made.fileno(), _BLOCK), frame(parcel)
    # struct tpacket_hdr: status (2nd word: the length), then the frame at 32
    ring[32 : 32 + len(data)] = data
    struct.pack_into("=QI", ring, 0, 1, len(data))  # TP_STATUS_SEND_REQUEST
    made.send(b"")


@case("xdp", **_packet)
def xdp(parcel: Parcel) -> None:
    """AF_XDP in copy mode: straight to the driver."""
    made = socket.socket(_AF_XDP, socket.SOCK_RAW, 0)
    memory = mmap.mmap(-1, 16 * _BLOCK)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    # struct xdp_umem_reg: address, size, chunk size, headroom, flags, metadata
    made.setsockopt(_SOL_XDP, 4, struct.pack("=QQIIII", start, 16 * _BLOCK, _BLOCK, 0, 0, 0))
    for ring in (5, 6, 3):  # XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING
        made.setsockopt(_SOL_XDP, ring, struct.pack("=I", 8))
    offsets = struct.unpack("=16Q", made.getsockopt(_SOL_XDP, 1, 128))  # XDP_MMAP_OFFSETS
    producer, _, descriptors, _ = offsets[4:8]
    queue = mmap.mmap(made.fileno(), _BLOCK, offset=0x80000000)  # XDP_PGOFF_TX_RING
    name = struct.pack("=HHIII", _AF_XDP, 2, socket.if_nametoindex(_UPLINK), 0, 0)  # XDP_COPY
    _check(_libc.bind(made.fileno(), name, len(name)))
    data = frame(parcel)
    memory[: len(data)] = data
    struct.pack_into("=QII", queue, descriptors, 0, len(data), 0)
    struct.pack_into("=I", queue, producer, 1)
    _check(_libc.sendto(made.fileno(), None, 0, socket.MSG_DONTWAIT, None, 0))


@case("vsock", opened=True, **_packet)
def vsock(parcel: Parcel) -> None:
    """AF_VSOCK: opened only, for whoever would listen is the host, outside of the lab."""
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).bind((socket.VMADDR_CID_ANY, parcel.port))


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
