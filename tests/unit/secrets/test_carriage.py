# SPDX-License-Identifier: MIT
"""The table of what may ride where: one test a cell."""

from __future__ import annotations

import itertools

import pytest

from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Carriage, Leak, Mode
from leakstop.secrets.carriage import Destination, is_public, judge

NONE, NOTE, WARN, FAIL, KILL = (
    Carriage.NONE,
    Carriage.NOTE,
    Carriage.WARN,
    Carriage.FAIL,
    Carriage.KILL,
)
PLACED, UNPLACED = True, False

CELLS = [
    # secret, destination, audit, block
    (PLACED, Destination(local=True), NONE, NONE),
    (PLACED, Destination(at_home=True), NONE, NONE),
    (PLACED, Destination(at_home=True, named=True), NONE, NONE),
    (PLACED, Destination(at_home=True, bare=True), NONE, NONE),
    (PLACED, Destination(at_home=True, plain_http=True), NONE, NONE),
    (PLACED, Destination(at_home=True, sink=True), NONE, NONE),
    (PLACED, Destination(at_home=True, dns_label=True), KILL, KILL),
    (PLACED, Destination(), KILL, KILL),
    (PLACED, Destination(named=True), KILL, KILL),
    (PLACED, Destination(bare=True), KILL, KILL),
    (PLACED, Destination(plain_http=True), KILL, KILL),
    (PLACED, Destination(dns_label=True), KILL, KILL),
    (PLACED, Destination(sink=True), KILL, KILL),
    (UNPLACED, Destination(local=True), NONE, NONE),
    (UNPLACED, Destination(), WARN, KILL),
    (UNPLACED, Destination(named=True), NOTE, KILL),
    (UNPLACED, Destination(bare=True), KILL, KILL),
    (UNPLACED, Destination(plain_http=True), KILL, KILL),
    (UNPLACED, Destination(plain_http=True, named=True), KILL, KILL),
    (UNPLACED, Destination(dns_label=True), KILL, KILL),
    (UNPLACED, Destination(dns_label=True, named=True), KILL, KILL),
    (UNPLACED, Destination(sink=True), KILL, KILL),
    (UNPLACED, Destination(sink=True, named=True), KILL, KILL),
]


@pytest.mark.parametrize("leak", list(Leak))
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("placed", "dest", "audit", "block"), CELLS)
def test_cell(
    placed: bool, dest: Destination, audit: Carriage, block: Carriage, mode: Mode, leak: Leak
) -> None:
    expected = audit if mode is Mode.AUDIT else block
    if expected is KILL and leak is not Leak.KILL:
        expected = FAIL
    assert judge(placed=placed, dest=dest, mode=mode, leak=leak) is expected


@pytest.mark.parametrize("leak", list(Leak))
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("bits", list(itertools.product([False, True], repeat=7)))
def test_a_guess_differs_from_an_unplaced_secret_in_one_cell(
    bits: tuple[bool, ...], mode: Mode, leak: Leak
) -> None:
    dest = Destination(*bits)
    guess = judge(placed=False, guessed=True, dest=dest, mode=mode, leak=leak)
    if dest.named and not (dest.unfit or dest.local or dest.at_home):
        assert guess is NOTE, "a host that a rule names, in both modes"
    else:
        assert guess is judge(placed=False, dest=dest, mode=mode, leak=leak)


@pytest.mark.parametrize("bits", list(itertools.product([False, True], repeat=7)))
def test_who_is_placed_is_no_guess(bits: tuple[bool, ...]) -> None:
    dest, audit = Destination(*bits), Mode.AUDIT
    for leak in Leak:
        plain = judge(placed=True, dest=dest, mode=audit, leak=leak)
        assert judge(placed=True, guessed=True, dest=dest, mode=audit, leak=leak) is plain


def test_a_stricter_setting_is_never_milder() -> None:
    order = [NONE, NOTE, WARN, FAIL, KILL]
    for bits in itertools.product([False, True], repeat=8):
        placed, dest = bits[0], Destination(*bits[1:])

        def rank(mode: Mode, leak: Leak, placed: bool = placed, dest: Destination = dest) -> int:
            return order.index(judge(placed=placed, dest=dest, mode=mode, leak=leak))

        for mode in Mode:
            assert rank(mode, Leak.KILL) >= rank(mode, Leak.FAIL) == rank(mode, Leak.WARN)
        for leak in Leak:
            assert rank(Mode.BLOCK, leak) >= rank(Mode.AUDIT, leak)


TCP, UDP, DNS = Transport.TCP, Transport.UDP, Transport.DNS


@pytest.mark.parametrize(
    ("flow", "bare", "plain_http"),
    [
        (Flow(TCP, 443, "203.0.113.5"), True, False),
        (Flow(TCP, 80, "203.0.113.5"), True, True),
        (Flow(TCP, 443, "203.0.113.5", ("collector.test",)), False, False),
        (Flow(TCP, 80, "203.0.113.5", ("collector.test",)), False, True),
        (Flow(TCP, 80, "10.1.2.3"), False, True),
        (Flow(UDP, 80, "2001:db8::5"), True, False),
        (Flow(DNS, names=("collector.test",)), False, False),
    ],
)
def test_what_a_flow_says_of_its_destination(flow: Flow, bare: bool, plain_http: bool) -> None:
    assert Destination.of(flow) == Destination(bare=bare, plain_http=plain_http)


def test_what_the_policy_says_is_passed_on() -> None:
    flow = Flow(TCP, 443, "203.0.113.5")
    assert Destination.of(flow, address_named=True) == Destination()
    assert Destination.of(flow, address_named=True, named=True, at_home=True, sink=True) == (
        Destination(named=True, at_home=True, sink=True)
    )


def test_this_machine_is_neither_bare_nor_plain_http() -> None:
    flow = Flow(TCP, 80, "203.0.113.5")
    assert Destination.of(flow, local=True) == Destination(local=True)


def test_only_a_question_has_a_secret_in_its_name() -> None:
    question = Flow(DNS, names=("x.collector.test",))
    assert Destination.of(question, dns_label=True, local=True) == Destination(dns_label=True)
    assert not Destination.of(Flow(TCP, 443, "192.0.2.1"), dns_label=True).dns_label


@pytest.mark.parametrize(
    "ip",
    [
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.1.1",
        "224.0.0.251",
        "255.255.255.255",
        "fd00::1",
        "fe80::1",
        "ff02::fb",
        "::ffff:10.0.0.1",
    ],
)
def test_private_addresses(ip: str) -> None:
    assert not is_public(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "192.0.2.1",
        "100.128.0.1",
        "172.32.0.1",
        "223.255.255.255",
        "2001:db8::1",
        "::ffff:192.0.2.1",
        "",
        "no address",
    ],
)
def test_public_addresses(ip: str) -> None:
    assert is_public(ip)
