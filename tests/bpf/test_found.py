# SPDX-License-Identifier: MIT
"""Secrets that are added to the kernel's tables while programs run."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from bpf.harness import DataPlane
from leakstop.bpf import fill
from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, Carriage, Leak, Mode, RuleRef
from leakstop.policy.match import decide
from leakstop.policy.rules import (
    Home,
    NamePlace,
    Policy,
    PortRange,
    Protocol,
    Reach,
    Rule,
)
from leakstop.policy.tables import Tables, compile_tables
from leakstop.secrets.carriage import Destination, judge
from leakstop.secrets.encodings import needles_of
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import table_of

pytestmark = pytest.mark.root

NONE, NOTE, WARN, KILL = Carriage.NONE, Carriage.NOTE, Carriage.WARN, Carriage.KILL


def rule(name: str, action: Action, port: int = 443) -> Rule:
    place = NamePlace(name, Reach.EXACT)
    return Rule(action, place, Protocol.TCP, (PortRange(port, port),), RuleRef(name, "test"))


HOME = Home(False, (rule("home.test", Action.ALLOW),), ("home.test",), "format")
POLICY = Policy(
    rules=(rule("named.test", Action.ALLOW), rule("named.test", Action.ALLOW, 80)),
    format_homes={"home.test": HOME, "nowhere": Home(True, (), ("nowhere",), "format")},
    sinks=(rule("sink.test", Action.DENY),),
)


def flow(name: str, port: int = 443) -> Flow:
    return Flow(Transport.TCP, port, "203.0.113.9", (name,) if name else ())


PLACES = {
    "home": flow("home.test"),
    "named": flow("named.test"),
    "other": flow("other.test"),
    "bare": flow(""),
    "plain": flow("named.test", 80),
    "sink": flow("sink.test"),
    "local": replace(flow(""), ip="127.0.0.1"),
}
# docs/secrets.md: secret, place, audit, block
CELLS = [
    ("placed", "home", NONE, NONE),
    ("placed", "named", KILL, KILL),
    ("placed", "other", KILL, KILL),
    ("placed", "bare", KILL, KILL),
    ("placed", "plain", KILL, KILL),
    ("placed", "sink", KILL, KILL),
    ("placed", "local", NONE, NONE),
    ("nowhere", "home", KILL, KILL),
    ("nowhere", "named", KILL, KILL),
    ("nowhere", "other", KILL, KILL),
    ("nowhere", "local", NONE, NONE),
    ("guessed", "home", WARN, KILL),
    ("guessed", "named", NOTE, NOTE),
    ("guessed", "other", WARN, KILL),
    ("guessed", "bare", KILL, KILL),
    ("guessed", "plain", KILL, KILL),
    ("guessed", "sink", KILL, KILL),
    ("guessed", "local", NONE, NONE),
]


def homes(tables: Tables) -> dict[str, int | None]:
    return {
        "placed": tables.format_homes["home.test"],
        "nowhere": tables.format_homes["nowhere"],
        "guessed": None,
    }


@pytest.mark.parametrize("leak", [Leak.KILL, Leak.FAIL])
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("kind", ["placed", "nowhere", "guessed"])
def test_each_cell_in_the_kernel_and_in_the_reference(kind: str, mode: Mode, leak: Leak) -> None:
    policy = replace(POLICY, mode=mode, leak=leak)
    tables = compile_tables(policy)
    home = homes(tables)[kind]
    with DataPlane(policy, tables, finds=True) as plane:
        plane.found([Secret(kind, token(Random(1), 32))], {kind: home})
        for _, place, audit, block in (cell for cell in CELLS if cell[0] == kind):
            want = audit if mode is Mode.AUDIT else block
            if want is KILL and leak is not Leak.KILL:
                want = Carriage.FAIL
            to = PLACES[place]
            dest = Destination.of(
                to,
                local=place == "local",
                at_home=bool(tables.held(to) & (home or 0)),
                named=decide(policy, to).policy is Action.ALLOW and place != "local",
                sink=tables.is_sink(to),
            )
            guessed = home is None
            reference = judge(placed=not guessed, guessed=guessed, dest=dest, mode=mode, leak=leak)
            assert reference is want, place
            assert plane.decide(to, marked=True).carriage is want, place


def token(random: Random, length: int) -> bytes:
    letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP0123456789"
    return bytes(random.choice(letters) for _ in range(length))


@pytest.mark.parametrize("declared", [0, 3, 200])
def test_what_is_added_is_found_in_every_form_and_the_rest_still(declared: int) -> None:
    random, policy = Random(declared), Policy()
    first = [Secret(f"D{i}", token(random, 40)) for i in range(declared)]
    with DataPlane(policy, compile_tables(policy), table_of(first), finds=True) as plane:
        for number in range(declared, declared + 12):
            secret = Secret(f"F{number}", token(random, random.randrange(16, 80)))
            data = b"............" + secret.value
            assert plane.scan(data) == set()
            plane.found([secret], {secret.name: None})
            for form in needles_of(secret):
                if len(form.core) >= 15:
                    assert plane.scan(b"......." + form.core) == {number}, form.encoding
        for number, secret in enumerate(first):
            assert plane.scan(b"=" + secret.value) == {number}


def test_a_short_value_that_is_added_has_everything_read_more_often() -> None:
    random, policy = Random(3), Policy()
    first = [Secret(f"D{i}", token(random, 40)) for i in range(3)]
    found = [Secret("LONG", token(random, 40)), Secret("SHORT", token(random, 15))]
    with DataPlane(policy, compile_tables(policy), table_of(first), finds=True) as plane:
        strides = [plane.found([secret], {secret.name: None}).stride for secret in found]
        assert strides == [16, 8]
        for number, secret in enumerate((*first, *found)):
            for shift in range(17):
                assert plane.scan(bytes(shift) + secret.value) == {number}, shift


def test_all_of_the_spare_room_can_be_used() -> None:
    random, policy = Random(6), Policy()
    secrets = [Secret(f"F{i}", token(random, 40)) for i in range(fill.SPARE_SECRETS)]
    with DataPlane(policy, compile_tables(policy), finds=True) as plane:
        for start in range(0, len(secrets), 64):
            part = secrets[start : start + 64]
            plane.found(part, dict.fromkeys((secret.name for secret in part), None))
        for number, secret in enumerate(secrets):
            assert plane.scan(b"-" + secret.value) == {number}
