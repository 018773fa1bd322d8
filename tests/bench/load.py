# SPDX-License-Identifier: MIT
"""The load: a small program that does one thing many times and says how long each took.

Runs as the job of the lab, in the cgroup of a guard or in one without, and imports nothing of
ours. Takes one JSON object a line on its input and answers each with one.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from statistics import median
from time import perf_counter_ns, sleep
from typing import Any

TRUE = "/bin/true"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close at once, so that no socket waits for a minute (TIME_WAIT)."""
_LITTLE = b"x" * 32
_MIB = bytes(1 << 20)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA = os.urandom(1 << 20)
"""As compressed data is: nothing in it repeats itself."""


def connect(order: dict[str, Any], number: int) -> None:
    """Open a TCP connection and close it; ``ports`` spreads them over as many destinations."""
    port = order["port"] + number % order.get("ports", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.connect_ex((order["address"], port))


def lookup(order: dict[str, Any], number: int) -> None:
    """Ask for a name and take the answer, as a stub resolver does."""
    names = order["names"]
    query = bytearray(bytes.fromhex(names[number % len(names)]))
    query[:2] = (number & 0xFFFF).to_bytes(2, "big")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect((order["resolver"], 53))
        sock.send(query)
        sock.recv(4096)


def first_byte(order: dict[str, Any], number: int) -> None:
    """Connect, send a little, and take the first byte of the answer."""
    with _connected(order) as sock:
        sock.send(_LITTLE)
        sock.recv(1)


def handshake(order: dict[str, Any], number: int) -> None:
    """The same within TLS, where the name of the server is shown to whoever looks on."""
    with _sealed(order, number) as sock:
        sock.send(_LITTLE)
        sock.recv(1)


def first_write(order: dict[str, Any], number: int) -> int:
    """Of such a connection only the first write, in nanoseconds."""
    with _sealed(order) as sock:
        began = perf_counter_ns()
        sock.send(_LITTLE)
        return perf_counter_ns() - began


def upload(order: dict[str, Any], number: int) -> int:
    """Send ``parts`` MiB within TLS, ``size`` bytes at a time, until the far end has read them.

    ``http2``: behind the preface that HTTP/2 begins with.
    """
    size = order["size"]
    with _sealed(order) as sock:
        if order["http2"]:
            sock.sendall(_PREFACE)
        began = perf_counter_ns()
        for _ in range(order["parts"]):
            for start in range(0, len(_DATA), size):
                sock.sendall(_DATA[start : start + size])
        with suppress(OSError):  # it just goes away
            sock.unwrap()
        return perf_counter_ns() - began


def visit(order: dict[str, Any], number: int) -> None:
    """Look a name up, then go there: what a client of HTTPS does."""
    lookup(order, number)
    handshake(order, number)


def bulk(order: dict[str, Any], number: int) -> None:
    """Send ``parts`` MiB over one connection, until the far end has read them all."""
    with _connected(order) as sock:
        for _ in range(order["parts"]):
            sock.sendall(_MIB)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)


def round_trips(order: dict[str, Any], number: int) -> None:
    """Send a byte and wait for it to come back, ``parts`` times on one connection."""
    with _connected(order) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(order["parts"]):
            sock.send(b"x")
            sock.recv(1)


def sealed_round_trips(order: dict[str, Any], number: int) -> None:
    """The same within TLS."""
    names = order["sni"]
    with _tls().wrap_socket(_connected(order), server_hostname=names[number % len(names)]) as sock:
        for _ in range(order["parts"]):
            sock.send(b"x")
            sock.recv(1)


def datagrams(order: dict[str, Any], number: int) -> None:
    """Send ``parts`` small datagrams from one socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((order["address"], order["port"]))
        for _ in range(order["parts"]):
            sock.send(_LITTLE)


def spin(order: dict[str, Any], number: int) -> None:
    """Do nothing: in a storm, that keeps a processor busy."""


def execute(order: dict[str, Any], number: int) -> None:
    """Run a program to its end, with ``argument`` bytes as its only argument."""
    argument = f"{number:x}".ljust(order.get("argument", 0), "x")
    # posix_spawn is vfork: what is measured is exec and exit, not the copy of this process.
    pid = os.posix_spawn(TRUE, [TRUE, argument], {})
    os.waitpid(pid, 0)


WORK: dict[str, Callable[[dict[str, Any], int], int | None]] = {
    "connect": connect,
    "lookup": lookup,
    "first byte": first_byte,
    "handshake": handshake,
    "first write": first_write,
    "upload": upload,
    "visit": visit,
    "bulk": bulk,
    "round trips": round_trips,
    "sealed round trips": sealed_round_trips,
    "datagrams": datagrams,
    "spin": spin,
    "exec": execute,
}


def _connected(order: dict[str, Any]) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.connect((order["address"], order["port"]))
    return sock


def _sealed(order: dict[str, Any], number: int = 0) -> ssl.SSLSocket:
    names = order["sni"]
    sock = _connected(order)
    if "proxy_to" in order:
        sock.sendall(f"CONNECT {order['proxy_to']} HTTP/1.1\r\n\r\n".encode())
        while not sock.recv(4096).endswith(b"\r\n\r\n"):
            pass
    return _tls().wrap_socket(sock, server_hostname=names[number % len(names)])


@cache
def _tls() -> ssl.SSLContext:
    """Made once. Who the far end is does not matter here, and to check it takes its time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def repeat(order: dict[str, Any]) -> dict[str, Any]:
    """Do it ``count`` times, on processor ``cpu`` if one is named.

    What one costs is the median, divided by the ``parts`` that each consists of: of the whole, or
    of what the work itself has measured.
    """
    if "cpu" in order:
        os.sched_setaffinity(0, {order["cpu"]})
    work, took = WORK[order["work"]], []
    first = order.get("first", 0)
    for number in range(first, first + order["count"]):
        began = perf_counter_ns()
        measured = work(order, number)
        took.append(measured or perf_counter_ns() - began)
    return {"ns": median(took) / order.get("parts", 1), "done": len(took)}


def storm(order: dict[str, Any]) -> dict[str, Any]:
    """Do it for ``seconds``, ``rate`` times a second or as fast as it goes."""
    work, rate = WORK[order["work"]], order.get("rate", 0)
    began = perf_counter_ns()
    end = began + int(order["seconds"] * 1e9)
    done = 0
    while (now := perf_counter_ns()) < end:
        if rate and done >= (now - began) * rate / 1e9:
            sleep(0.0005)
            continue
        work(order, done)
        done += 1
    return {"done": done, "seconds": (perf_counter_ns() - began) / 1e9}


def main() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        answer = storm(order) if "seconds" in order else repeat(order)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
