# SPDX-License-Identifier: MIT
"""A firewall as tools in user space are built: NFQUEUE, with its verdict in Python.

``nfqueue.py QUEUE``, in the network namespace that has the queue: allowed IPv4 addresses come on
its input, one a line. Then each packet is held in the kernel until this process has read it, looked
its destination up and said what becomes of it. It does no more than that, neither asks /proc who
sends nor writes anything down, so a real firewall of this kind takes longer.

The messages are those of <linux/netfilter/nfnetlink_queue.h>.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator

NETLINK_NETFILTER = 12
_SUBSYSTEM = 3 << 8
"""NFNL_SUBSYS_QUEUE"""
PACKET, VERDICT, CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1, _SUBSYSTEM | 2
NLMSG_ERROR = 2
REQUEST, ACK = 1, 4
CONFIG_COMMAND, CONFIG_PARAMETERS = 1, 2
"""NFQA_CFG_CMD, NFQA_CFG_PARAMS"""
BIND, COPY_PACKET = 1, 2
PACKET_HEADER, VERDICT_HEADER, PAYLOAD = 1, 2, 10
"""NFQA_PACKET_HDR, NFQA_VERDICT_HDR, NFQA_PAYLOAD"""
DROP, ACCEPT = 0, 1
IP_HEADER = 20
"""Bytes of a packet that are copied: a destination is all that is asked for."""


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, queue: int, attributes: bytes, flags: int = REQUEST) -> bytes:
    """One message to the kernel."""
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, queue) + attributes
    return struct.pack("=LHHLL", 16 + len(body), kind, flags, 0, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind and the body of each message."""
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from("=LH", data, at)
        yield kind, data[at + 16 : at + size]
        at += (size + 3) & ~3


def attributes(body: bytes) -> dict[int, bytes]:
    """What a message about a packet says."""
    found, at = {}, 4
    while at + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, at)
        found[kind & 0x3FFF] = body[at + 4 : at + size]  # without the flags of <linux/netlink.h>
        at += (size + 3) & ~3
    return found


def listen(queue: int) -> socket.socket:
    """Become the one who is asked.

    Raises:
        OSError: the kernel has no such queues, or another process has this one.
    """
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, 0))
    bind = attribute(CONFIG_COMMAND, struct.pack("!BBH", BIND, 0, 0))
    copy = attribute(CONFIG_PARAMETERS, struct.pack("!LB", IP_HEADER, COPY_PACKET))
    for configured in (bind, copy):
        sock.send(message(CONFIG, queue, configured, REQUEST | ACK))
        for kind, body in messages(sock.recv(4096)):
            if kind == NLMSG_ERROR and (error := struct.unpack_from("=i", body)[0]):
                raise OSError(-error, os.strerror(-error))
    return sock


def main(queue: int) -> None:
    """Give verdicts until the input ends, or the process is."""
    allowed = {socket.inet_aton(line.strip()) for line in sys.stdin}
    # Beside the workers, as the far end is: woken on another processor it takes longer.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sock = listen(queue)
    print("ready", flush=True)
    while True:
        for kind, body in messages(sock.recv(1 << 16)):
            if kind != PACKET:
                continue
            told = attributes(body)
            verdict = ACCEPT if told[PAYLOAD][16:20] in allowed else DROP
            header = struct.pack("!L", verdict) + told[PACKET_HEADER][:4]
            sock.send(message(VERDICT, queue, attribute(VERDICT_HEADER, header)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
