# SPDX-License-Identifier: MIT
"""The load: a small program that does one thing many times and says how long each took.

Runs as the job of the lab, in the cgroup of a guard or in one without, and imports nothing of
ours. Takes one JSON object a line on its input and answers each with one.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns, sleep
from typing import Any

TRUE = "/bin/true"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close at once, so that no socket waits for a minute (TIME_WAIT)."""


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


def execute(order: dict[str, Any], number: int) -> None:
    """Run a program to its end, with ``argument`` bytes as its only argument."""
    argument = f"{number:x}".ljust(order.get("argument", 0), "x")
    # posix_spawn is vfork: what is measured is exec and exit, not the copy of this process.
    pid = os.posix_spawn(TRUE, [TRUE, argument], {})
    os.waitpid(pid, 0)


WORK: dict[str, Callable[[dict[str, Any], int], None]] = {
    "connect": connect,
    "lookup": lookup,
    "exec": execute,
}


def repeat(order: dict[str, Any]) -> dict[str, Any]:
    """Do it ``count`` times, on processor ``cpu`` if one is named; the median is what one costs."""
    if "cpu" in order:
        os.sched_setaffinity(0, {order["cpu"]})
    work, took = WORK[order["work"]], []
    first = order.get("first", 0)
    for number in range(first, first + order["count"]):
        began = perf_counter_ns()
        work(order, number)
        took.append(perf_counter_ns() - began)
    return {"ns": median(took), "done": len(took)}


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
