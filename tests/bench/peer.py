# SPDX-License-Identifier: MIT
"""The far end: a few servers, as quick as Python can be.

The lab's own servers record every byte, which takes longer than what is measured here.
``peer.py ADDRESS NAMED CERTIFICATE PORT…``, a process group of its own: questions are answered
with ``NAMED``, where TLS is spoken; on each ``PORT`` of ``ADDRESS`` connections are taken and
dropped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

ECHO, DISCARD = 7, 9
"""RFC 862 and RFC 863."""
SINK = 8443
"""As DISCARD, within TLS."""
LIFETIME_S = 3600
"""Longer than any run, so that what was learned once holds."""
PACE_S = 0.005
_BLOCK = bytearray(1 << 18)


def serve(address: str, port: int, attend: Callable[[socket.socket], object]) -> None:
    """Attend to one connection at a time."""
    listener = socket.create_server((address, port), backlog=4096)
    _ready()
    while True:
        # The peer may go away at any time.
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attend(connection)


def drop(address: str, port: int) -> None:
    """Take connections and drop them, many at a time.

    Woken for each, it would depend on the scheduler's mood whether this process runs in the
    middle of a connect, which then takes twice as long.
    """
    listener = socket.create_server((address, port), backlog=4096)
    listener.setblocking(False)
    _ready()
    while True:
        time.sleep(PACE_S)
        with contextlib.suppress(OSError):  # nobody is left, or somebody went away
            while True:
                listener.accept()[0].close()


def echo(connection: socket.socket) -> None:
    """Send back what comes."""
    while data := connection.recv(4096):
        connection.sendall(data)


def discard(connection: socket.socket) -> None:
    """Read to the end and say nothing."""
    while connection.recv_into(_BLOCK):
        pass


def ignore_datagrams(address: str, port: int) -> None:
    """Own a port so that nobody is told that it is closed; what comes fills up and is dropped."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    _ready()
    signal.pause()


def answer(address: str, led_to: str) -> None:
    """Answer every question with one address."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    # RFC 1035: a pointer to the asked name, A, IN, lifetime, 4 bytes.
    record = struct.pack("!HHHIH", 0xC00C, 1, 1, LIFETIME_S, 4) + socket.inet_aton(led_to)
    _ready()
    while True:
        query, peer = sock.recvfrom(512)
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
        sock.sendto(head + query[12:] + record, peer)


def sealed(
    certificate: str, attend: Callable[[socket.socket], object]
) -> Callable[[socket.socket], object]:
    """The same within TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return lambda connection: attend(context.wrap_socket(connection, server_side=True))


def main(address: str, named: str, certificate: str, ports: Sequence[str]) -> None:
    """Run each server in a process of its own, until the input ends: with who started this."""
    # Beside the workers: else it depends on the scheduler's mood whether a packet wakes another
    # processor, which takes longer than all the rest. The agent has the other one.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    servers: list[Callable[[], None]] = [
        partial(answer, address, named),
        partial(serve, address, ECHO, echo),
        partial(serve, address, DISCARD, discard),
        partial(ignore_datagrams, address, DISCARD),
        partial(serve, named, 443, sealed(certificate, echo)),
        partial(serve, named, SINK, sealed(certificate, discard)),
        *(partial(drop, address, int(port)) for port in ports),
    ]
    for server in servers:
        if os.fork() == 0:
            server()
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def _ready() -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
