# SPDX-License-Identifier: MIT
"""Network interfaces, as the kernel tells them."""

from __future__ import annotations

import struct
from typing import Any

from leakstop.sensor import links
from leakstop.sensor.links import LOOPBACK, Interface

NEWLINK = 16


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def body(index: int, *attributes: bytes) -> bytes:
    return struct.pack("=BxHiII", 0, 1, index, 0, 0) + b"".join(attributes)


def message(kind: int, content: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(content), kind, 2, 1, 0) + content


def test_a_port_of_a_bridge() -> None:
    kind = attribute(1, b"veth\0") + attribute(2, b"whatever")
    port = body(
        7,
        attribute(3, b"veth1a2b\0"),
        attribute(10, (3).to_bytes(4, "little")),
        attribute(0x8000 | 18, kind),  # marked as nested
    )
    assert links.interface(port) == Interface(7, "veth1a2b", "veth", 3)


def test_hardware_has_no_kind() -> None:
    assert links.interface(body(2, attribute(3, b"eth0\0"))) == Interface(2, "eth0", "", 0)


def test_several_messages_in_one_datagram() -> None:
    bodies = [body(number, attribute(3, b"x" * number)) for number in (1, 2, 5)]
    datagram = b"".join(message(NEWLINK, content) for content in bodies)
    assert [message.kind for message in links.messages(datagram)] == [NEWLINK] * 3
    found = [links.interface(message.body).name for message in links.messages(datagram)]
    assert found == ["x", "xx", "xxxxx"]


def test_what_is_cut_short_does_not_loop() -> None:
    whole = message(NEWLINK, body(1, attribute(3, b"lo\0")))
    for length in range(len(whole)):
        list(links.messages(whole[:length]))
    assert next(iter(links.messages(bytes(64)))) == links.Message(0, b"", 0)
    assert links.interface(body(1, bytes(64))) == Interface(1, "", "", 0)


def test_an_interface_without_a_whole_head_is_left_out() -> None:
    class Short:
        """A kernel that says too little."""

        def recv(self, size: int) -> bytes:
            return (message(NEWLINK, bytes(4)) + message(3, b""))[:size]

    netlink: Any = Short()
    assert list(links._answers(netlink)) == []


def test_this_machine_has_loopback() -> None:
    assert Interface(1, "lo", "", 0, LOOPBACK) in links.read_interfaces()
