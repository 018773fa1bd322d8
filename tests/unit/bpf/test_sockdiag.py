# SPDX-License-Identifier: MIT
"""One socket, asked of the kernel."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from leakstop.bpf import sockdiag
from leakstop.bpf.sockdiag import SockDiag
from leakstop.model.flow import Transport

TCP, UDP = Transport.TCP, Transport.UDP


@pytest.fixture
def diag():
    made = SockDiag()
    yield made
    made.close()


def inode(held: socket.socket) -> int:
    return os.fstat(held.fileno()).st_ino


@pytest.mark.parametrize(
    ("family", "here"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_tcp_connection_has_two_ends(diag, family, here):
    with (
        socket.create_server((here, 0), family=family) as server,
        socket.create_connection((here, server.getsockname()[1])) as client,
        server.accept()[0] as accepted,
    ):
        local, remote = client.getsockname()[:2], client.getpeername()[:2]
        assert diag.inode(TCP, local, remote) == inode(client)
        assert diag.inode(TCP, remote, local) == inode(accepted)


@pytest.mark.parametrize("connected", [True, False])
def test_a_udp_socket(diag, connected):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("127.0.0.1", 0))
        if connected:
            mine.connect(("127.0.0.2", 53))
        assert diag.inode(UDP, mine.getsockname(), ("127.0.0.2", 53)) == inode(mine)


def test_no_such_socket(diag):
    assert diag.inode(TCP, ("127.0.0.1", 1), ("127.0.0.1", 2)) == 0
    assert diag.inode(TCP, ("not an address", 1), ("127.0.0.1", 2)) == 0
    assert diag.inode(TCP, ("::1", 1), ("127.0.0.1", 2)) == 0


def test_a_late_answer_is_not_taken_for_the_next(diag):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("127.0.0.1", 0))
        here = mine.getsockname()
        # An answer that nobody waited for.
        diag._ask(20, 0, *sockdiag._between(UDP, here, here))
        assert diag.inode(TCP, ("127.0.0.1", 1), ("127.0.0.1", 2)) == 0


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOENT, ""),
        (errno.EOPNOTSUPP, "the kernel was built without CONFIG_INET_DIAG_DESTROY"),
        (errno.EPERM, "operation not permitted"),
    ],
)
def test_why_no_connection_can_be_ended(diag, monkeypatch, number, said):
    monkeypatch.setattr(diag, "_destroy", lambda family, identity: number)
    assert diag.refusal() == said
