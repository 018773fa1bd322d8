# SPDX-License-Identifier: MIT
"""Is the resolver, in a network namespace of its own, and asks itself.

``forged_resolver.py RESOLVER ADDRESS NAME``: claims that NAME is at ADDRESS, and prints what the
question got. The answer comes out of a tun device, so that no socket has to send it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading

from names import by_udp

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
"""<linux/if_tun.h>"""
IP, UDP = 20, 8


def checksum(header: bytes) -> int:
    """Of an IPv4 header (RFC 791)."""
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    return ~(total + (total >> 16)) & 0xFFFF


def answer(packet: bytes, address: str) -> bytes:
    """The packet that answers a question's packet."""
    query = packet[IP + UDP :]
    reply = query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:]
    reply += struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
    source, target = struct.unpack(">HH", packet[IP : IP + 4])
    udp = struct.pack(">HHHH", target, source, UDP + len(reply), 0)
    head = struct.pack(">BBHHHBBH", 0x45, 0, IP + len(udp) + len(reply), 0, 0, 64, 17, 0)
    head += packet[16:20] + packet[12:16]
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + udp + reply


def serve(tun: int, address: str) -> None:
    """Answer whatever is IPv4 and UDP to port 53."""
    while True:
        packet = os.read(tun, 4096)
        if packet[0] == 0x45 and packet[9] == 17 and packet[IP + 2 : IP + 4] == b"\0\x35":
            os.write(tun, answer(packet, address))


def main() -> None:
    """Forge one answer."""
    resolver, address, name = sys.argv[1:]
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"forged0", IFF_TUN_NO_PI))
    for command in ("address add 192.0.2.1/24", "link set up", "route add default"):
        device = [] if command.startswith("link") else ["dev"]
        subprocess.run(["ip", *command.split(), *device, "forged0"], check=True)
    threading.Thread(target=serve, args=(tun, address), daemon=True).start()
    print(json.dumps(by_udp(resolver, "plain", name)), flush=True)


if __name__ == "__main__":
    main()
