# SPDX-License-Identifier: MIT
"""ClientHellos: real ones from OpenSSL, and made-up ones for what it does not send."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from random import Random

HANDSHAKE, APPLICATION = 22, 23
SERVER_NAME, PADDING, EARLY_DATA, KEY_SHARE, ECH = 0, 21, 42, 51, 0xFE0D

noise = Random(1).randbytes
"""Bytes of no meaning, the same in each run."""


def extension(kind: int, body: bytes = b"") -> bytes:
    """One extension."""
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def server_name(name: str | bytes) -> bytes:
    """The extension with the host's name (RFC 6066, 3)."""
    raw = name if isinstance(name, bytes) else name.encode()
    entry = b"\0" + len(raw).to_bytes(2, "big") + raw
    return extension(SERVER_NAME, len(entry).to_bytes(2, "big") + entry)


def hello(*extensions: bytes, session: int = 32, ciphers: int = 6, minor: int = 3) -> bytes:
    """A ClientHello as a handshake message; without extensions it ends before their length."""
    body = bytes((3, minor)) + noise(32)
    body += bytes((session,)) + noise(session)
    body += ciphers.to_bytes(2, "big") + noise(ciphers) + b"\x01\0"
    if extensions:
        joined = b"".join(extensions)
        body += len(joined).to_bytes(2, "big") + joined
    return b"\x01" + len(body).to_bytes(3, "big") + body


def record(data: bytes, kind: int = HANDSHAKE) -> bytes:
    """One record."""
    return bytes((kind, 3, 1)) + len(data).to_bytes(2, "big") + data


def records(message: bytes, size: int = 16384) -> bytes:
    """A message in records of ``size`` bytes."""
    return b"".join(record(message[at : at + size]) for at in range(0, len(message), size))


def connect(
    name: str | None,
    server: ssl.SSLContext,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> list[bytes]:
    """What OpenSSL's client writes to OpenSSL's server, flight by flight."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    up, seen, down = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname=name)
    peer = server.wrap_bio(seen, down, server_side=True)
    flights: list[bytes] = []
    for _ in range(5):
        ready = [_step(client.do_handshake)]
        if ready[0]:
            client.write(b"GET / HTTP/1.1\r\n\r\n")
        flight = up.read()
        if flight:
            flights.append(flight)
            seen.write(flight)
        ready.append(_step(peer.do_handshake))
        if all(ready):
            return flights
    raise AssertionError("no handshake")


def _step(handshake: Callable[[], None]) -> bool:
    try:
        handshake()
    except ssl.SSLWantReadError:
        return False
    return True
