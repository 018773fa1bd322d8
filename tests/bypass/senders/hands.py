# SPDX-License-Identifier: MIT
"""Sockets that somebody else made, or that were there before."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from bypass.case import GIVER, JOB, TCP_PORT, Parcel, benign, case, case6
from bypass.senders.streams import finish

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_PATIENCE_S = 1.5
_VISITORS_PORT = 7070  # where nobody of the other side listens
_tcp = {"port": TCP_PORT, "protocol": "tcp", "rule": "tcp://{friend}:{port}"}
# The stream is there: it can only be cut, which its program sees as this.
_cut = {**_tcp, "errors": ("EPERM", "ECONNABORTED", "ECONNRESET", "EPIPE")}
_visited = {
    **_cut,
    "port": _VISITORS_PORT,
    "visited": True,
    "errors": (*_cut["errors"], ""),
}
_older = {"older": True, "scopes": ("start",)}


@case("accepted", **_visited)
def accepted(parcel: Parcel) -> None:
    """The thief connects to us and takes what we send."""
    _serve(parcel, socket.AF_INET, JOB[0])


@case6("accepted6", **{**_visited, "rule": "tcp://[{friend}]:{port}"})
def accepted6(parcel: Parcel) -> None:
    """The same over IPv6."""
    _serve(parcel, socket.AF_INET6, JOB[1])


def _serve(parcel: Parcel, family: socket.AddressFamily, address: str) -> None:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, parcel.port))
    _answer(listener, parcel)


def _answer(listener: socket.socket, parcel: Parcel) -> None:
    listener.listen()
    listener.settimeout(_PATIENCE_S)
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        parcel.restart()  # the call was never put through: there is nobody to tell
    else:
        parcel.restart()
        finish(connection, parcel.data)


@case("older-tcp", **_cut, **_older)
def older_stream(parcel: Parcel) -> None:
    """Connected before the guard, used after."""
    connection = socket.create_connection((parcel.to, parcel.port))
    parcel.hold()
    finish(connection, parcel.data)


@case("older-tcp-used", **_cut, **_older)
def older_stream_used(parcel: Parcel) -> None:
    """Connected and used before the guard: no first bytes are left to judge by."""
    connection = socket.create_connection((parcel.to, parcel.port))
    if parcel.held:
        connection.sendall(b"hello, ")
    parcel.hold()
    finish(connection, parcel.data)


@case("older-udp", **_older)
def older_datagrams(parcel: Parcel) -> None:
    """The same with datagrams."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect((parcel.to, parcel.port))
    parcel.hold()
    made.send(parcel.data)


@case("older-raw", protocol="other", at_socket=True, twin="udp-sendto", **_older)
def older_raw(parcel: Parcel) -> None:
    """A raw socket from before the guard: nobody was asked when it was made."""
    made = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
    parcel.hold()
    made.sendto(parcel.data, (parcel.to, 0))


@case("older-listener", **_visited, **_older)
def older_listener(parcel: Parcel) -> None:
    """Listening since before the guard; the thief calls later."""
    listener = socket.socket()
    listener.bind((JOB[0], parcel.port))
    parcel.hold()
    _answer(listener, parcel)


@case("passed-udp")
def passed_datagrams(parcel: Parcel) -> None:
    """Made by another process of the job, used by this one."""
    made = _from_child(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.sendto(parcel.data, (parcel.to, parcel.port))


@case("passed-udp-connected")
def passed_connected(parcel: Parcel) -> None:
    """Made and connected by another process of the job."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect((parcel.to, parcel.port))
        return made

    _from_child(make).send(parcel.data)


@case("passed-tcp", **_tcp)
def passed_stream(parcel: Parcel) -> None:
    """The same with TCP."""
    made = _from_child(socket.socket)
    made.connect((parcel.to, parcel.port))
    finish(made, parcel.data)


def _from_child(make: Callable[[], socket.socket]) -> socket.socket:
    """What a child made and sent over a unix socket (SCM_RIGHTS); the child has ended."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        made = make()
        socket.send_fds(theirs, [b"."], [made.fileno()])
        os._exit(0)
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(child, 0)
    return socket.socket(fileno=descriptors[0])


@case("given-udp", given=True, gap="G17")
def given_datagrams(parcel: Parcel) -> None:
    """Made by a process that nobody guards."""
    _given("").sendto(parcel.data, (parcel.to, parcel.port))


@case("given-tcp-connected", given=True, gap="G17", **_cut)
def given_stream(parcel: Parcel) -> None:
    """Made and connected by a process that nobody guards."""
    finish(_given(f"{parcel.to} {parcel.port}"), parcel.data)


def _given(wish: str) -> socket.socket:
    with socket.socket(socket.AF_UNIX) as giver:
        giver.connect(GIVER)
        giver.sendall(wish.encode() + b"\n")
        _, descriptors, _, _ = socket.recv_fds(giver, 1, 1)
    return socket.socket(fileno=descriptors[0])


@case("relay", **_tcp)
def relay(parcel: Parcel) -> None:
    """To a process on this machine, which passes it on."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if not child:
        try:
            client = listener.accept()[0]
            with socket.create_connection((parcel.to, parcel.port)) as onward:
                finish(onward, client.recv(4096))
            client.close()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    with socket.create_connection(listener.getsockname()) as connection:
        connection.sendall(parcel.data)
        _, status = os.waitpid(child, 0)
    if status:
        raise OSError(os.waitstatus_to_exitcode(status), "the relay")


@case("namespace-left", twin="namespace")
def left_namespace(parcel: Parcel) -> None:
    """A new user and a new network, but a socket of the old one."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    new_network()
    made.sendto(parcel.data, (parcel.to, parcel.port))


@benign("namespace")
def inside_namespace(parcel: Parcel) -> None:
    """As sandboxes do: a network of one's own, in it only loopback. And a friend outside."""
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    new_network()
    raise_loopback()
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 0))
    here.settimeout(5)
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(parcel.data, here.getsockname())
    assert here.recv(999) == parcel.data
    outside.sendto(parcel.data, (parcel.to, parcel.port))


def raise_loopback() -> None:
    """Bring loopback up: a new network has it down."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
    fcntl.ioctl(here, 0x8914, struct.pack("=16sH22x", b"lo", 0x41))


def new_network(*, of_user: bool = True) -> None:
    """Leave for a network namespace of one's own; any user can, in a user namespace."""
    user = os.getuid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWNET | (_NEWUSER if of_user else 0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if of_user:
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")  # root in there
