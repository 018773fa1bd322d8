# SPDX-License-Identifier: MIT
"""ICMP and raw IP."""

from __future__ import annotations

import socket
import struct

from bypass.case import Parcel, case, case6

_ECHO, _ECHO6 = 8, 128
_UNASSIGNED = 253  # RFC 3692: for experiments
_icmp = {"protocol": "icmp", "port": 0, "rule": "icmp://{friend}"}
_icmp6 = {**_icmp, "rule": "icmp://[{friend}]"}
# Raw sockets are refused when they are made, whatever they are for: `ping` has its own kind.
_raw = {"protocol": "other", "at_socket": True}


def echo_request(data: bytes, kind: int = _ECHO) -> bytes:
    """A request, the data in it."""
    head = struct.pack("!BBHHH", kind, 0, 0, 0x4C53, 1)
    return struct.pack("!BBHHH", kind, 0, checksum(head + data), 0x4C53, 1) + data


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@case("icmp-echo", **_icmp)
def ping(parcel: Parcel) -> None:
    """The socket that `ping` uses without privileges."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    made.sendto(echo_request(parcel.data), (parcel.to, 0))


@case("icmp-echo-connected", **_icmp)
def ping_connected(parcel: Parcel) -> None:
    """The same, connected."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    made.connect((parcel.to, 0))
    made.send(echo_request(parcel.data))


# icmpv6_push_pending_frames() drops what became of the packet: its sender is not told.
@case6("icmp6-echo", errors=("EPERM", ""), **_icmp6)
def ping6(parcel: Parcel) -> None:
    """Over IPv6."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
    made.sendto(echo_request(parcel.data, _ECHO6), (parcel.to, 0))


@case("icmp-raw", at_socket=True, twin="icmp-echo", **_icmp)
def raw_icmp(parcel: Parcel) -> None:
    """An echo request out of a raw socket."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    made.sendto(echo_request(parcel.data), (parcel.to, 0))


@case6("icmp6-raw", at_socket=True, twin="icmp6-echo", **_icmp6)
def raw_icmp6(parcel: Parcel) -> None:
    """Over IPv6: the kernel fills in the checksum (RFC 3542)."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    made.sendto(echo_request(parcel.data, _ECHO6), (parcel.to, 0))


@case("raw-protocol", twin="udp-sendto", **_raw)
def raw_protocol(parcel: Parcel) -> None:
    """A protocol number of one's own."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, _UNASSIGNED)
    made.sendto(parcel.data, (parcel.to, 0))


@case6("raw-protocol6", twin="udp6-sendto", **_raw)
def raw_protocol6(parcel: Parcel) -> None:
    """The same over IPv6."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, _UNASSIGNED)
    made.sendto(parcel.data, (parcel.to, 0))


@case("raw-udp", twin="udp-sendto", at_socket=True)
def raw_udp(parcel: Parcel) -> None:
    """UDP by hand, so that no UDP hook sees it."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    made.sendto(udp(parcel.data), (parcel.to, 0))


@case("ip-hdrincl", twin="udp-sendto", **_raw)
def own_header(parcel: Parcel) -> None:
    """The IP header too is the sender's."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    made.sendto(ipv4(parcel.to, socket.IPPROTO_UDP, udp(parcel.data)), (parcel.to, 0))


@case("ip-hdrincl-elsewhere", detour=True, twin="udp-sendto", **_raw)
def own_header_elsewhere(parcel: Parcel) -> None:
    """Handed over for a friend, addressed to the thief."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    made.sendto(ipv4(parcel.to, socket.IPPROTO_UDP, udp(parcel.data)), (parcel.friend, 0))


@case("ip-fragments", twin="udp-fragments", **_raw)
def own_fragments(parcel: Parcel) -> None:
    """Fragments by hand: the second has no ports."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    whole = udp(parcel.data)
    whole += b"." * (-len(whole) % 8)
    first = ipv4(parcel.to, socket.IPPROTO_UDP, whole, offset=0x2000)  # more fragments
    second = ipv4(parcel.to, socket.IPPROTO_UDP, parcel.data, offset=len(whole) // 8)
    made.sendto(second, (parcel.to, 0))
    made.sendto(first, (parcel.to, 0))


def udp(data: bytes, port: int = 9999) -> bytes:
    """A UDP datagram without a checksum."""
    return struct.pack("!HHHH", 4444, port, 8 + len(data), 0) + data


def ipv4(
    to: str, protocol: int, data: bytes, offset: int = 0, source: str = "203.0.113.2"
) -> bytes:
    """An IPv4 packet."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 0x4C53, offset, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(to)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data
