# SPDX-License-Identifier: MIT
"""A client for odd streams: ``python streams.py CASE ADDRESS_OF PORT [NAME]``, payload on stdin.

It resolves ``ADDRESS_OF``, connects to that, and shows ``NAME`` there in the way that ``CASE``
says. It prints what the connection ended with, and after how many milliseconds of waiting.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable

Case = Callable[[socket.socket, str, bytes], None]


def hello(name: str, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """A real ClientHello."""
    context = ssl.create_default_context()
    context.maximum_version = newest
    outgoing = ssl.MemoryBIO()
    channel = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        channel.do_handshake()
    return outgoing.read()


def _extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def extended(record: bytes, more: bytes) -> bytes:
    """``record`` with more extensions at the end of its hello."""
    body = bytearray(record[9:])
    at = 34
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    length = int.from_bytes(body[at : at + 2], "big") + len(more)
    body[at : at + 2] = length.to_bytes(2, "big")
    body += more
    handshake = b"\x01" + len(body).to_bytes(3, "big") + bytes(body)
    return b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake


def in_records(record: bytes, size: int) -> bytes:
    """The same handshake message in many small records."""
    message = record[5:]
    pieces = (message[at : at + size] for at in range(0, len(message), size))
    return b"".join(b"\x16\x03\x01" + len(p).to_bytes(2, "big") + p for p in pieces)


def by_pieces(sock: socket.socket, data: bytes, size: int) -> None:
    """Send ``data`` in segments of ``size`` bytes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(0, len(data), size):
        sock.sendall(data[at : at + size])


def tls(sock: socket.socket, name: str, payload: bytes) -> None:
    """A handshake to its end, then the payload."""
    context = ssl.create_default_context()
    context.check_hostname = bool(name)
    with context.wrap_socket(sock, server_hostname=name or None) as channel:
        channel.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(payload))
        channel.sendall(payload)
        channel.recv(100)


def old_tls(sock: socket.socket, name: str, payload: bytes) -> None:
    """TLS 1.2."""
    context = ssl.create_default_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(sock, server_hostname=name) as channel:
        channel.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(payload))
        channel.sendall(payload)
        channel.recv(100)


def unnamed(sock: socket.socket, name: str, payload: bytes) -> None:
    """No SNI."""
    tls(sock, "", payload)


def then_payload(form: Callable[[str], bytes], size: int = 1 << 16) -> Case:
    """A hello in some form, and the payload behind it as if the handshake were over."""

    def send(sock: socket.socket, name: str, payload: bytes) -> None:
        by_pieces(sock, form(name), size)
        time.sleep(0.05)
        sock.sendall(payload)
        sock.recv(100)

    return send


def large(name: str) -> bytes:
    """A hello as long as those with post-quantum keys, and longer."""
    return extended(hello(name), _extension(0x7A7A, os.urandom(3000)))


def hidden(name: str) -> bytes:
    """A hello with an encrypted one inside (RFC 9849): the name outside means nothing."""
    inner = b"\0" + b"\0\1\0\1" + b"\x2a" + b"\0\x20" + os.urandom(32)
    sealed = os.urandom(200)
    return extended(
        hello(name), _extension(0xFE0D, inner + len(sealed).to_bytes(2, "big") + sealed)
    )


def two_names(sock: socket.socket, name: str, payload: bytes) -> None:
    """A second server_name extension behind the first, which says it all."""
    entry = b"\0" + len(payload).to_bytes(2, "big") + payload
    sock.sendall(extended(hello(name), _extension(0, len(entry).to_bytes(2, "big") + entry)))
    sock.recv(100)


def urgent(sock: socket.socket, name: str, payload: bytes) -> None:
    """A byte inside the hello that the server's stack takes out of the stream."""
    data = hello(name)
    sock.sendall(data[:100])
    sock.send(data[100:101], socket.MSG_OOB)
    sock.sendall(data[101:] + payload)
    sock.recv(100)


def sent_file(sock: socket.socket, name: str, payload: bytes) -> None:
    """A hello out of a file's pages, which could change before they are sent again."""
    with tempfile.TemporaryFile() as file:
        file.write(hello(name) + payload)
        file.flush()
        os.sendfile(sock.fileno(), file.fileno(), 0, 1 << 16)
        sock.recv(100)


def banner(sock: socket.socket, name: str, payload: bytes) -> None:
    """Another protocol: what an SSH client says first."""
    sock.sendall(b"SSH-2.0-client\r\n" + payload)
    sock.recv(100)


def request(name: str, payload: bytes, *, target: str = "/", more: str = "") -> bytes:
    """An HTTP request."""
    head = f"POST {target} HTTP/1.1\r\nHost: {name}\r\n{more}Content-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def http(sock: socket.socket, name: str, payload: bytes) -> None:
    """One plain request."""
    sock.sendall(request(name, payload))
    sock.recv(100)


def http_slowly(sock: socket.socket, name: str, payload: bytes) -> None:
    """One plain request, a byte in each segment."""
    by_pieces(sock, request(name, payload), 1)
    sock.recv(100)


def second_request(sock: socket.socket, name: str, payload: bytes) -> None:
    """The first request is for where we are, the second one is not."""
    sock.sendall(request(sys.argv[2], b"a body"))
    sock.recv(100)
    sock.sendall(request(name, payload))
    sock.recv(100)


def pipelined(sock: socket.socket, name: str, payload: bytes) -> None:
    """Both in one segment."""
    sock.sendall(request(sys.argv[2], b"a body") + request(name, payload))
    sock.recv(100)


def absolute(sock: socket.socket, name: str, payload: bytes) -> None:
    """As to a proxy."""
    sock.sendall(request(name, payload, target=f"http://{name}/"))
    sock.recv(100)


def two_targets(sock: socket.socket, name: str, payload: bytes) -> None:
    """The target counts, says RFC 9112 (3.2.2), but not every server has read it."""
    sock.sendall(request(name, payload, target="http://other.test/"))
    sock.recv(100)


def two_hosts(sock: socket.socket, name: str, payload: bytes) -> None:
    """Which one the server takes is its own affair."""
    sock.sendall(request(sys.argv[2], payload, more=f"Host: {name}\r\n"))
    sock.recv(100)


def smuggled(sock: socket.socket, name: str, payload: bytes) -> None:
    """Two lengths: what one reader takes for a body is a request to another."""
    hidden_one = request(name, payload)
    head = f"POST / HTTP/1.1\r\nHost: {sys.argv[2]}\r\nTransfer-Encoding: chunked\r\n"
    head += f"Content-Length: {5 + len(hidden_one)}\r\n\r\n0\r\n\r\n"
    sock.sendall(head.encode() + hidden_one)
    sock.recv(100)


def connect(sock: socket.socket, name: str, payload: bytes) -> None:
    """Through a proxy."""
    sock.sendall(f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n".encode())
    sock.recv(100)
    sock.sendall(hello(name))
    time.sleep(0.05)
    sock.sendall(payload)
    sock.recv(100)


def raw(sock: socket.socket, name: str, payload: bytes) -> None:
    """No protocol that shows a name."""
    sock.sendall(payload)
    sock.recv(100)


CASES: dict[str, Case] = {
    "tls": tls,
    "tls-1.2": old_tls,
    "no-sni": unnamed,
    "hello-by-bytes": then_payload(hello, 1),
    "hello-in-tiny-records": then_payload(lambda name: in_records(hello(name), 3), 7),
    "large-hello": then_payload(large),
    "large-hello-by-pieces": then_payload(large, 100),
    "encrypted-hello": then_payload(hidden),
    "two-server-names": two_names,
    "urgent-byte": urgent,
    "sendfile": sent_file,
    "ssh": banner,
    "raw": raw,
    "http": http,
    "http-by-bytes": http_slowly,
    "second-request": second_request,
    "pipelined": pipelined,
    "absolute-target": absolute,
    "two-targets": two_targets,
    "two-hosts": two_hosts,
    "smuggled": smuggled,
    "connect": connect,
}


def main() -> None:
    """Run one case."""
    case, address_of, port, *name = sys.argv[1:]
    payload = sys.stdin.buffer.read()
    ended = "answered"
    began = time.monotonic()
    try:
        with socket.create_connection((address_of, int(port)), timeout=5) as sock:
            began = time.monotonic()
            CASES[case](sock, *(name or [address_of]), payload)
    except OSError as error:
        ended = type(error).__name__
    print(ended, round((time.monotonic() - began) * 1000))


if __name__ == "__main__":
    main()
