# SPDX-License-Identifier: MIT
"""Sends files to a port of this machine: ``stream_client.py PORT [["send", FILE], …]``.

A program of its own, because a socket belongs to the cgroup of the process that makes it.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from pathlib import Path

SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000  # <asm-generic/socket.h>, <linux/socket.h>
PATIENCE_S = 1


def main(port: str, parts: str) -> None:
    """Send, and wait until the server has it all or it is clear that it will not."""
    kept = []
    with socket.create_connection(("127.0.0.1", int(port))) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for how, name in json.loads(parts):
            if how == "sendfile":
                with Path(name).open("rb") as file:
                    sock.sendfile(file)
                continue
            left = memoryview(Path(name).read_bytes())
            kept.append(left)
            while left:
                left = left[sock.send(left, MSG_ZEROCOPY if how == "zerocopy" else 0) :]
        sock.settimeout(PATIENCE_S)
        try:
            sock.recv(1)
        except TimeoutError:
            # What did not leave is thrown away with the socket.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
