# SPDX-License-Identifier: MIT
"""Asks questions of every kind and says what became of each, one JSON list.

``names.py RESOLVER STEP...``; a step is ``udp|CASE|NAME``, ``tcp|CASE|NAME``, ``lookup|NAME``
(the system's own resolver) or ``connect|ADDRESS|PORT[|SNI]``. What comes out is ``ok``, an answer's
addresses, or the name of an error.
"""

from __future__ import annotations

import errno
import json
import socket
import ssl
import struct
import sys
from collections.abc import Callable

PORT = 53
TIMEOUT_S = 1.5
UDP_SEGMENT = 103
"""<linux/udp.h>; Python has no name for it."""

TYPES = {"A": 1, "PTR": 12, "NULL": 10, "TXT": 16, "AAAA": 28, "SRV": 33, "HTTPS": 65}
TYPES |= {"AXFR": 252, "ANY": 255, "PRIVATE": 65280, "MX": 15, "NS": 2, "CAA": 257}
OPT = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
RECORD = b"\xc0\x0c" + struct.pack(">HHIH4s", 1, 1, 60, 4, b"\xcb\0\x71\x42")


def wire(name: str) -> bytes:
    """A name as it stands in a message."""
    return b"".join(bytes((len(part),)) + part.encode() for part in name.split(".") if part) + b"\0"


def query(
    name: str, qtype: int = 1, *, flags: int = 0x0100, qclass: int = 1, ident: int = 0x1234
) -> bytes:
    """A plain question."""
    head = struct.pack(">HHHHHH", ident, flags, 1, 0, 0, 0)
    return head + wire(name) + struct.pack(">HH", qtype, qclass)


def counted(message: bytes, **counts: int) -> bytes:
    """``message`` with other counts in its header."""
    fields = list(struct.unpack(">HHHHHH", message[:12]))
    for key, count in counts.items():
        fields[("qd", "an", "ns", "ar").index(key) + 2] = count
    return struct.pack(">HHHHHH", *fields) + message[12:]


def second(name: str) -> bytes:
    """A question without its header."""
    return query(name)[12:]


EVIL = "stolen.collector.test"
MESSAGES: dict[str, Callable[[str], bytes]] = {
    "plain": query,
    "edns": lambda name: counted(query(name), ar=1) + OPT,
    "two-questions": lambda name: counted(query(name) + second(EVIL), qd=2),
    "no-question": lambda name: counted(query(name), qd=0),
    "response": lambda name: query(name, flags=0x8100),
    "opcode": lambda name: query(name, flags=0x1000),
    "answer-record": lambda name: counted(query(name), an=1) + RECORD,
    "authority-record": lambda name: counted(query(name), ns=1) + RECORD,
    "additional-record": lambda name: counted(query(name), ar=1) + RECORD,
    "two-opts": lambda name: counted(query(name), ar=2) + OPT + OPT,
    "trailing-bytes": lambda name: query(name) + EVIL.encode(),
    "chaos-class": lambda name: query(name, qclass=3),
    "compressed": lambda name: query("")[:12] + b"\xc0\x0c\0\1\0\1",
    **{f"type-{kind}": lambda name, n=number: query(name, n) for kind, number in TYPES.items()},
}


def addresses(reply: bytes) -> list[str]:
    """The last four bytes of a reply as an address: the lab's answers end with their record.

    A denied question is answered by the guard: no such name. The lab says that, too, of names
    that it does not hold, so only its questions tell which it was.
    """
    if not struct.unpack(">H", reply[6:8])[0]:
        return []
    return [socket.inet_ntoa(reply[-4:])]


def by_udp(resolver: str, case: str, name: str) -> object:
    """One datagram, and the answer to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect((resolver, PORT))
        if case == "offload":
            one = query(name)
            sock.setsockopt(socket.SOL_UDP, UDP_SEGMENT, len(one))
            sock.send(one + query("x" * (len(name) - 10) + ".evil.test"))
        else:
            sock.send(MESSAGES[case](name))
        return addresses(sock.recv(65535))


def framed(message: bytes) -> bytes:
    """``message`` behind its length."""
    return struct.pack(">H", len(message)) + message


def writes(case: str, name: str) -> list[bytes]:
    """What is written, one by one."""
    whole = framed(query(name))
    if case == "bytes":
        return [whole[i : i + 1] for i in range(len(whole))]
    if case == "split":
        return [whole[:20], whole[20:]]
    if case == "length-alone":
        return [whole[:2], whole[2:]]
    if case == "pipelined":
        return [framed(query("home.test", ident=1)) + whole]
    if case == "twice":
        return [framed(query("home.test", ident=1)), whole]
    if case == "length-lies":
        return [struct.pack(">H", len(whole) + 40) + query(name) + framed(query(EVIL))]
    if case == "no-length":
        return [query(name)]
    return [framed(MESSAGES[case](name))]


def by_tcp(resolver: str, case: str, name: str) -> object:
    """One connection, and the last answer on it."""
    with socket.create_connection((resolver, PORT), TIMEOUT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in writes(case, name):
            sock.sendall(piece)
        got: list[str] = []
        for _ in range(2 if case in ("pipelined", "twice") else 1):
            size = struct.unpack(">H", exactly(sock, 2))[0]
            got = addresses(exactly(sock, size))
        return got


def exactly(sock: socket.socket, size: int) -> bytes:
    """Read ``size`` bytes, or fail."""
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, "closed")
        data += more
    return data


def by_system(name: str) -> object:
    """What getaddrinfo() says."""
    found = socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def connect(address: str, port: str, name: str = "") -> object:
    """Open a connection and say something; with ``name`` as TLS."""
    with socket.create_connection((address, int(port)), TIMEOUT_S) as sock:
        if name:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(sock, server_hostname=name) as sealed:
                sealed.sendall(b"GET / HTTP/1.0\r\n\r\n")
        else:
            sock.sendall(b"hello")
    return "ok"


def step(resolver: str, text: str) -> object:
    """Do one step."""
    kind, *rest = text.split("|")
    try:
        if kind == "udp":
            return by_udp(resolver, *rest)
        if kind == "tcp":
            return by_tcp(resolver, *rest)
        return by_system(*rest) if kind == "lookup" else connect(*rest)
    except OSError as error:
        return type(error).__name__


def main() -> None:
    """Do all steps."""
    print(json.dumps([step(sys.argv[1], text) for text in sys.argv[2:]]))


if __name__ == "__main__":
    main()
