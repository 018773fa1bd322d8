# SPDX-License-Identifier: MIT
"""UDP and its relatives, with and without a connect."""

from __future__ import annotations

import ctypes
import socket
import struct

from bypass.case import Parcel, benign, case, case6

# <linux/in.h>, <linux/udp.h>, <linux/in6.h>
_UDPLITE, _L2TP = 136, 115
_UDP_SEGMENT = 103
_IPV6_DSTOPTS, _IPV6_HOPOPTS = 59, 54
_BEYOND_MTU = 4000
_GROUP, _FRIENDS_GROUP = "239.1.2.99", "239.1.2.21"
_GROUP6, _FRIENDS_GROUP6 = "ff02::99", "ff02::21"
_UPLINK = "job0"


def _made(family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
    return socket.socket(family, socket.SOCK_DGRAM, protocol)


@case("udp-connected")
def connected(parcel: Parcel) -> None:
    """Connect, then send: connecting alone sends nothing."""
    made = _made()
    made.connect((parcel.to, parcel.port))
    made.send(parcel.data)


@case("udp-sendto")
@case("udp-443", port=443)
@case("udp-853", port=853)
@case("udp-53", port=53, rule="a.friend.test", twin="look-up", stays=True)
def sendto(parcel: Parcel) -> None:
    """No connect: the address comes with the data."""
    _made().sendto(parcel.data, (parcel.to, parcel.port))


@case("udp-sendmsg")
def sendmsg(parcel: Parcel) -> None:
    """Gathered from two buffers."""
    _made().sendmsg([parcel.data[:9], parcel.data[9:]], [], 0, (parcel.to, parcel.port))


@case("udp-sendmmsg")
def sendmmsg(parcel: Parcel) -> None:
    """Several messages in one call."""

    class Message(ctypes.Structure):
        """struct mmsghdr."""

        _fields_ = (
            ("name", ctypes.c_char_p),
            ("name_len", ctypes.c_uint),
            ("parts", ctypes.c_void_p),
            ("part_count", ctypes.c_size_t),
            ("control", ctypes.c_void_p),
            ("control_len", ctypes.c_size_t),
            ("flags", ctypes.c_int),
            ("sent", ctypes.c_uint),
        )

    data = ctypes.create_string_buffer(parcel.data, len(parcel.data))
    part = (ctypes.c_size_t * 2)(ctypes.addressof(data), len(parcel.data))
    name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", parcel.port)
    name += socket.inet_aton(parcel.to) + bytes(8)
    one = (name, len(name), ctypes.addressof(part), 1, None, 0, 0, 0)
    made, libc = _made(), ctypes.CDLL(None, use_errno=True)
    if libc.sendmmsg(made.fileno(), (Message * 2)(one, one), 2, 0) < 1:
        raise OSError(ctypes.get_errno(), "sendmmsg")


@case6("udp6-sendto")
def sendto6(parcel: Parcel) -> None:
    """Over IPv6."""
    _made(socket.AF_INET6).sendto(parcel.data, (parcel.to, parcel.port))


@case6("udp6-connected")
def connected6(parcel: Parcel) -> None:
    """Over IPv6, connected."""
    made = _made(socket.AF_INET6)
    made.connect((parcel.to, parcel.port))
    made.send(parcel.data)


@case("udp-v4-mapped")
def mapped(parcel: Parcel) -> None:
    """An IPv4 address out of an IPv6 socket: another hook than connect's."""
    _made(socket.AF_INET6).sendto(parcel.data, (f"::ffff:{parcel.to}", parcel.port))


@case("udp-elsewhere", detour=True)
def elsewhere(parcel: Parcel) -> None:
    """Connected to a friend, sent to somebody else."""
    made = _made()
    made.connect((parcel.friend, parcel.port))
    made.sendto(parcel.data, (parcel.to, parcel.port))


@case("udp-reconnected", detour=True)
def reconnected(parcel: Parcel) -> None:
    """What was judged for the first peer does not hold for the second."""
    made = _made()
    made.connect((parcel.friend, parcel.port))
    made.send(b"hello")
    made.connect((parcel.to, parcel.port))
    made.send(parcel.data)


@case("udp-corked", detour=True)
def corked(parcel: Parcel) -> None:
    """The first piece says where to, the last one sends."""
    made = _made()
    made.sendto(b"hello", (parcel.friend, parcel.port))
    made.sendto(parcel.data, socket.MSG_MORE, (parcel.to, parcel.port))
    made.sendto(b".", (parcel.friend, parcel.port))


@case("udp-segmented")
def segmented(parcel: Parcel) -> None:
    """Many datagrams in one buffer, cut behind the last hook (UDP GSO)."""
    made = _made()
    made.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, len(parcel.data))
    made.sendto(parcel.data * 3, (parcel.to, parcel.port))


@case("udp-zerocopy")
def zerocopy(parcel: Parcel) -> None:
    """The kernel sends from our pages."""
    made = _made()
    made.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
    made.sendto(parcel.data, 0x4000000, (parcel.to, parcel.port))  # MSG_ZEROCOPY


@case("udp-fragments")
def fragments(parcel: Parcel) -> None:
    """Larger than the link takes."""
    data = parcel.data * (_BEYOND_MTU // len(parcel.data))
    _made().sendto(data, (parcel.to, parcel.port))


@case6("udp6-fragments")
def fragments6(parcel: Parcel) -> None:
    """Larger than the link takes: the extension header of RFC 8200."""
    data = parcel.data * (_BEYOND_MTU // len(parcel.data))
    _made(socket.AF_INET6).sendto(data, (parcel.to, parcel.port))


@case("udp-source-route", detour=True, at_socket=True, twin="udp-sendto")
def source_route(parcel: Parcel) -> None:
    """Addressed to a friend, by way of the thief (RFC 791, loose source route)."""
    made = _made()
    route = bytes([1, 0x83, 7, 4]) + socket.inet_aton(parcel.to)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route)
    made.sendto(parcel.data, (parcel.friend, parcel.port))


@case6("udp6-destination-options", at_socket=True, twin="udp6-sendto")
def destination_options(parcel: Parcel) -> None:
    """A header between IPv6 and UDP, so that the ports are not where they seem."""
    _with_option(parcel, _IPV6_DSTOPTS)


@case6("udp6-hop-by-hop", at_socket=True, twin="udp6-sendto")
def hop_by_hop(parcel: Parcel) -> None:
    """The same with the header that each router reads."""
    _with_option(parcel, _IPV6_HOPOPTS)


def _with_option(parcel: Parcel, option: int) -> None:
    made = _made(socket.AF_INET6)
    made.setsockopt(socket.IPPROTO_IPV6, option, bytes([0, 0, 1, 4, 0, 0, 0, 0]))  # PadN
    made.sendto(parcel.data, (parcel.to, parcel.port))


@case("udp-broadcast", to="203.0.113.255", twin="udp-sendto")
def broadcast(parcel: Parcel) -> None:
    """To everyone on the link."""
    made = _made()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.sendto(parcel.data, (parcel.to, parcel.port))


@case("udp-multicast", to=_GROUP, friend=_FRIENDS_GROUP)
def multicast(parcel: Parcel) -> None:
    """To a group."""
    made = _made()
    index = socket.if_nametoindex(_UPLINK)
    made.setsockopt(
        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"", b"", index)
    )
    made.sendto(parcel.data, (parcel.to, parcel.port))


@case6("udp6-multicast", to=_GROUP6, friend=_FRIENDS_GROUP6)
@case6("udp6-link-local", to="fe80::99", friend="fe80::21")
def scoped(parcel: Parcel) -> None:
    """An address that means something on one link only."""
    index = socket.if_nametoindex(_UPLINK)
    _made(socket.AF_INET6).sendto(parcel.data, (parcel.to, parcel.port, 0, index))


@case("udplite", protocol="other", at_socket=True, twin="udp-sendto", absent="EPROTONOSUPPORT")
def udplite(parcel: Parcel) -> None:
    """UDP with a partial checksum: another protocol to the kernel."""
    _made(protocol=_UDPLITE).sendto(parcel.data, (parcel.to, parcel.port))


@case6("udplite6", protocol="other", at_socket=True, twin="udp6-sendto", absent="EPROTONOSUPPORT")
def udplite6(parcel: Parcel) -> None:
    """The same over IPv6."""
    _made(socket.AF_INET6, _UDPLITE).sendto(parcel.data, (parcel.to, parcel.port))


@case("l2tp", protocol="other", at_socket=True, twin="udp-sendto", absent="EPROTONOSUPPORT")
def l2tp(parcel: Parcel) -> None:
    """L2TP over IP, as a datagram socket."""
    _made(protocol=_L2TP).sendto(parcel.data, (parcel.to, parcel.port))


@benign("look-up")
def look_up(_: Parcel) -> None:
    """A question to the resolver of this machine, for a name that the policy has."""
    socket.getaddrinfo("a.friend.test", 443)
