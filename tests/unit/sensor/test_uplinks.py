# SPDX-License-Identifier: MIT
"""Which interfaces carry a program, and what becomes of it when they change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakstop.bpf import tc, values
from leakstop.bpf.libbpf import BpfError
from leakstop.bpf.tc import Filter
from leakstop.sensor.links import LOOPBACK, Interface
from leakstop.sensor.uplinks import Uplinks, devices

NETNS = 4711
NO_HEADER = 0xFFFE  # ARPHRD_NONE
LO = Interface(1, "lo", "", 0, LOOPBACK)
CARD = Interface(2, "eth0", "", 0)


def roles(*interfaces: Interface) -> dict[str, tuple[bool, int]]:
    """Name → whether it is an uplink, and the length of its header."""
    found = devices(interfaces, NETNS)
    assert all(device.netns == NETNS for device in found.values())
    names = {interface.index: interface.name for interface in interfaces}
    return {names[i]: (bool(device.uplink), device.header) for i, device in found.items()}


def test_the_loopback_answers_and_is_not_judged() -> None:
    assert roles(LO) == {"lo": (False, 14)}
    assert devices([LO], NETNS)[1].loopback


@pytest.mark.parametrize(
    "kind", ["", "vlan", "bond", "macvlan", "vxlan", "wireguard", "tun", "gre", "netkit"]
)
def test_whatever_leads_off_the_machine_is_an_uplink(kind: str) -> None:
    assert roles(LO, CARD, Interface(3, "x", kind, 0))["x"] == (True, 14)


def test_an_interface_without_a_link_header() -> None:
    assert roles(Interface(3, "tun0", "tun", 0, NO_HEADER)) == {"tun0": (True, 0)}


def test_containers_and_virtual_machines_leave_over_another_interface() -> None:
    found = roles(
        LO,
        CARD,
        Interface(10, "docker0", "bridge", 0),
        Interface(11, "veth0", "veth", 10),
        Interface(12, "cali0", "veth", 0),
        Interface(13, "virbr0", "bridge", 0),
        Interface(14, "tap0", "tun", 13),
        Interface(15, "ifb0", "ifb", 0),
    )
    assert found == {"lo": (False, 14), "eth0": (True, 14), "virbr0": (False, 14)}


def test_a_bridge_with_a_card_is_judged_at_the_card() -> None:
    found = roles(Interface(2, "eth0", "", 3), Interface(3, "br0", "bridge", 0))
    assert found == {"eth0": (True, 14), "br0": (False, 14)}


def test_inside_of_a_container_a_veth_is_the_way_out() -> None:
    found = roles(
        LO,
        Interface(7, "eth0", "veth", 0),
        Interface(10, "docker0", "bridge", 0),
        Interface(11, "veth0", "veth", 10),
    )
    assert found == {"lo": (False, 14), "eth0": (True, 14)}


class Kernel:
    """Interfaces, and what is attached to them."""

    def __init__(self) -> None:
        self.there = [LO, CARD]
        self.table: dict[int, values.Device] = {}
        self.attached: list[int] = []
        self.log: list[str] = []
        self.refused: set[int] = set()
        self.off: set[int] = set()

    def update(self, key: bytes, value: bytes) -> None:
        index = int.from_bytes(key, "little")
        self.log.append(f"list {index}")
        self.table[index] = values.Device.from_buffer_copy(value)

    def delete(self, key: bytes) -> None:
        del self.table[int.from_bytes(key, "little")]

    def attach(self, index: int) -> Attached:
        if index in self.refused:
            raise BpfError("no")
        self.log.append(f"attach {index}")
        self.off.discard(index)
        self.attached.append(index)
        return Attached(self, index)


class Attached:
    """A program on an interface."""

    def __init__(self, kernel: Kernel, index: int) -> None:
        self._kernel, self._index = kernel, index

    def pin(self, directory: Path) -> None:
        self._kernel.log.append(f"pin {self._index}")

    def holds(self) -> bool:
        return self._index not in self._kernel.off

    def close(self) -> None:
        self._kernel.attached.remove(self._index)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def uplinks(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Uplinks]:
    made = Uplinks(kernel, kernel.attach, Path("/nonexistent"), lambda: kernel.there)
    monkeypatch.setattr(made._changes, "any", lambda: True)
    yield made
    made.close()


def test_nothing_is_marked_for_an_interface_before_its_program(
    kernel: Kernel, uplinks: Uplinks
) -> None:
    uplinks.start()
    assert kernel.log == ["attach 1", "pin 1", "list 1", "attach 2", "pin 2", "list 2"]
    uplinks.close()
    assert kernel.attached == []


def test_a_later_interface_gets_its_program(kernel: Kernel, uplinks: Uplinks) -> None:
    uplinks.start()
    kernel.there.append(Interface(5, "wg0", "wireguard", 0, NO_HEADER))
    assert uplinks.follow() == 0
    assert kernel.attached == [1, 2, 5]
    assert kernel.table[5].uplink


def test_one_that_goes_is_forgotten(kernel: Kernel, uplinks: Uplinks) -> None:
    uplinks.start()
    kernel.there.remove(CARD)
    assert uplinks.follow() == 0
    assert (kernel.attached, list(kernel.table)) == ([1], [1])


def test_one_that_no_longer_counts_keeps_its_program_and_does_nothing(
    kernel: Kernel, uplinks: Uplinks
) -> None:
    kernel.there = [LO, Interface(7, "veth0", "veth", 0)]
    uplinks.start()
    assert kernel.table[7].uplink
    bridge = Interface(8, "br-0123456789ab", "bridge", 0)
    kernel.there = [LO, Interface(7, "veth0", "veth", 8), bridge]
    assert uplinks.follow() == 0
    assert kernel.attached == [1, 7]
    assert bytes(kernel.table[7]) == bytes(values.Device())


def test_what_cannot_be_covered_is_counted_while_it_is_there(
    kernel: Kernel, uplinks: Uplinks
) -> None:
    uplinks.start()
    kernel.refused.add(5)
    kernel.there.append(Interface(5, "wg0", "wireguard", 0))
    assert uplinks.follow() == 1
    kernel.there.pop()
    assert uplinks.follow() == 0


def test_one_that_appears_meanwhile_has_its_own_turn(kernel: Kernel, uplinks: Uplinks) -> None:
    """An engine makes several in a row; no round is lost for one that nobody has tried to cover."""
    uplinks.start()
    kernel.there.append(Interface(5, "wg0", "wireguard", 0))
    attach = kernel.attach

    def attach_slowly(index: int) -> Attached:
        if index == 5:
            kernel.there.append(Interface(6, "wg1", "wireguard", 0))
        return attach(index)

    uplinks._attach = attach_slowly
    assert uplinks.follow() == 0
    assert kernel.attached == [1, 2, 5]
    assert uplinks.follow() == 0
    assert kernel.attached == [1, 2, 5, 6]


def test_in_the_beginning_all_must_be_covered(kernel: Kernel, uplinks: Uplinks) -> None:
    kernel.refused.add(2)
    with pytest.raises(BpfError):
        uplinks.start()


def test_what_somebody_took_off_is_attached_again(kernel: Kernel, uplinks: Uplinks) -> None:
    uplinks.start()
    assert uplinks.restore() == 0
    kernel.log.clear()
    kernel.off.add(2)
    assert uplinks.restore() == 1
    assert kernel.log == ["list 1", "attach 2", "pin 2", "list 2"]
    assert kernel.attached == [1, 2], "the old one is let go of"
    assert uplinks.restore() == 0


def test_of_an_interface_that_is_gone_nothing_was_taken(kernel: Kernel, uplinks: Uplinks) -> None:
    """Its program went with it, and that is no attack."""
    uplinks.start()
    kernel.there.remove(CARD)
    kernel.off.add(2)
    assert uplinks.restore() == 0
    assert kernel.attached == [1]


def test_what_cannot_be_attached_again_is_tried_with_the_next_change(
    kernel: Kernel, uplinks: Uplinks
) -> None:
    uplinks.start()
    kernel.off.add(2)
    kernel.refused.add(2)
    assert uplinks.restore() == 1
    assert uplinks.follow() == 1, "it is there and not covered"
    kernel.refused.clear()
    assert uplinks.follow() == 0
    assert kernel.attached == [1, 2]


FOREIGN = ("clsact-3-x", "clsact-3-1-1", "clsact-", "clsact-3-1-1-1-1")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_pin_with_a_name_of_somebodys_is_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Else root could keep the next agent from going on, and the guard from being taken down."""
    opened: list[int] = []

    class Library:
        def attempt(self, *_: object) -> int:
            opened.append(os.open(os.devnull, os.O_RDONLY))
            return opened[-1]

    monkeypatch.setattr(tc, "library", Library)
    monkeypatch.setattr(tc, "object_id", lambda _: 1)
    assert tc.adopt(None, "on_departure", 3, {name: -1}) is None  # type: ignore[arg-type]
    (tmp_path / name).touch()
    tc.remove_filters(tmp_path)
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_filter_is_found_again_by_the_name_of_its_pin() -> None:
    one = Filter(ifindex=3, handle=1, priority=49152, made_qdisc=True)
    assert Filter.named(one.name) == one
    assert "." not in one.name  # bpffs does not take it
