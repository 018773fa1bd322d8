# SPDX-License-Identifier: MIT
"""Which connections of a snapshot are new, and ours."""

from __future__ import annotations

import os
import socket

import pytest

from leakstop.model.flow import Transport
from leakstop.sensor.connections import (
    Connection,
    Connections,
    read_connections,
)
from leakstop.sensor.heard import Opened

TCP, UDP = Transport.TCP, Transport.UDP
OUT = Connection(7, TCP, 40000, "203.0.113.9", 443)


@pytest.fixture
def connections():
    return Connections(whole_machine=True)


def test_a_connection_is_new_once(connections):
    assert connections.fresh([OUT]) == [OUT]
    assert connections.fresh([OUT]) == []


def test_the_same_ports_after_a_pause_are_new_again(connections):
    connections.fresh([OUT])
    connections.fresh([])
    assert connections.fresh([OUT]) == [OUT]


def test_what_was_there_before_is_old(connections):
    connections.remember([OUT])
    assert connections.fresh([OUT]) == []


def test_who_came_to_a_port_of_ours_is_not_egress(connections):
    listening = Connection(7, TCP, 8000, "", 0)
    accepted = Connection(7, TCP, 8000, "203.0.113.9", 51000)
    assert connections.fresh([listening, accepted, OUT]) == [OUT]


def test_a_udp_socket_without_a_peer_hides_nothing(connections):
    unconnected = Connection(7, UDP, 40000, "", 0)
    connected = Connection(7, UDP, 40000, "203.0.113.9", 53)
    assert connections.fresh([unconnected, connected]) == [connected]


def test_a_connection_held_twice_is_one(connections):
    inherited = Connection(8, TCP, 40000, "203.0.113.9", 443)
    assert connections.fresh([OUT, inherited]) == [OUT]


def test_nobodys_connection_counts_only_where_all_are_watched():
    closed = Connection(0, TCP, 40001, "203.0.113.9", 80)
    assert Connections(whole_machine=True).fresh([closed]) == [closed]
    assert Connections(whole_machine=False).fresh([closed]) == []


def test_a_closed_connection_is_not_seen_twice(connections):
    """It loses its process, not its place: TIME_WAIT."""
    connections.fresh([OUT])
    assert connections.fresh([Connection(0, TCP, 40000, "203.0.113.9", 443)]) == []


OPENED = Opened("192.0.2.1", 40000, "203.0.113.9", 443)


def test_what_the_wire_saw_is_new_once(connections):
    assert connections.begun([OPENED, OPENED]) == [OPENED]
    assert connections.begun([OPENED]) == [], "sent again: nobody answered"
    assert connections.fresh([OUT]) == [], "a snapshot shows it once more"


def test_what_a_snapshot_has_shown_is_not_new_on_the_wire(connections):
    connections.fresh([OUT])
    assert connections.begun([OPENED]) == []


def test_sockets_of_this_process():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        port = client.getsockname()[1]
        found = [item for item in read_connections() if item.local_port == port]
    assert [(item.pid, item.transport, item.ip) for item in found] == [
        (os.getpid(), TCP, "127.0.0.1")
    ]


def test_a_mapped_address_is_the_ipv4_address():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as client,
    ):
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        port = client.getsockname()[1]
        found = [item.ip for item in read_connections() if item.local_port == port]
    assert found == ["127.0.0.1"]
