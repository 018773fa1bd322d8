# SPDX-License-Identifier: MIT
"""Both ends of a race between an answer and the connection that follows it.

``racing.py serve ADDRESS``: a name server that gives every question about ``NAME`` the next of the
addresses in 2001:db8:77::/64; a name that begins with ``both`` gets the same ones as its twin.
``racing.py run ADDRESS TRIES NAME``: asks and connects at once, and prints how often which error
came. Nobody listens, so a connection that is let out is refused by the other side.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections import Counter

from names import query

PREFIX = bytes.fromhex("20010db800770000")
NOW = 600


def serve(address: str) -> None:
    """Answer for ever."""
    given = Counter[bytes]()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 53))
        while True:
            asked, asker = sock.recvfrom(512)
            label = asked[13 : 13 + asked[12]]
            given[label] += 1
            place = b"\0\0" if label.startswith(b"both") else label[-1:] * 2
            host = PREFIX + place + struct.pack(">xxI", given[label])
            head = asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:]
            sock.sendto(head + struct.pack(">HHHIH", 0xC00C, 28, 1, NOW, 16) + host, asker)


def run(address: str, tries: int, name: str) -> None:
    """Ask and connect."""
    ended = Counter[str]()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((address, 53))
        for number in range(tries):
            sock.send(query(name, 28, ident=number & 0xFFFF))
            host = socket.inet_ntop(socket.AF_INET6, sock.recv(512)[-16:])
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as stream:
                ended[errno.errorcode[stream.connect_ex((host, 443))]] += 1
    print(os.getpid(), dict(ended))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    run(sys.argv[2], int(sys.argv[3]), sys.argv[4])
