# SPDX-License-Identifier: MIT
"""T20, T21: names that are made up below an allowed wildcard carry data out; so they are rationed.

Whoever answers for the zone reads every name that is asked for in it, found or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bypass.test_names_questions import ask, reasons
from lab import Lab
from lab.guard import DENIED, Guarded

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

THREE = "version: 1\nallow: {host: '*.zone.test', names: 3}\n"


def asked(lab: Lab) -> set[str]:
    """The names that arrived."""
    return {question.name.lower() for question in lab.dns.questions}


def lookups(names: Iterable[str], case: str = "udp|plain") -> list[str]:
    """Steps that ask for ``names``."""
    return [f"{case}|{name}" for name in names]


def test_the_fourth_name_is_refused(lab: Lab, leakstop: Guard) -> None:
    names = [f"n{number}.zone.test" for number in range(5)]
    run = leakstop(ask(*lookups(names)), mode="block", policy=THREE)
    assert run.code == DENIED
    assert asked(lab) == set(names[:3])
    assert reasons(run) == {("budget", "deny")}
    (finding,) = run.findings("denied-flow")
    assert Path(finding["process"]["exe"]).name.startswith("python")


def test_in_audit_it_passes_and_is_listed(lab: Lab, leakstop: Guard) -> None:
    names = [f"n{number}.zone.test" for number in range(5)]
    run = leakstop(ask(*lookups(names)), mode="audit", policy=THREE)
    assert asked(lab) == set(names)
    assert reasons(run) == {("budget", "allow")}
    listed = [event["name"] for event in run.events("question") if event["policy"] == "deny"]
    assert listed == names[3:]


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_name_costs_once(lab: Lab, leakstop: Guard, mode: str) -> None:
    """In whatever case, whatever is asked about it, and however often."""
    steps = []
    for name in ("a.zone.test", "B.zone.test", "c.zone.test"):
        steps += lookups([name, name.upper(), name.lower()])
        steps += lookups([name], "udp|type-AAAA") + lookups([name], "tcp|type-TXT")
    run = leakstop(ask(*steps), mode=mode, policy=THREE)
    assert len(lab.dns.questions) == len(steps)
    assert (run.code, run.findings()) == (0, [])


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_an_exact_name_costs_nothing(lab: Lab, leakstop: Guard, mode: str) -> None:
    named = [f"exact{number}.zone.test" for number in range(5)]
    policy = THREE.replace("allow: ", "allow:\n  - ") + "".join(f"  - {name}\n" for name in named)
    names = [*named, *(f"n{number}.zone.test" for number in range(3))]
    run = leakstop(ask(*lookups(names)), mode=mode, policy=policy)
    assert asked(lab) == set(names)
    assert (run.code, run.findings()) == (0, [])


def test_each_wildcard_has_its_own(lab: Lab, leakstop: Guard) -> None:
    """The narrowest wildcard that covers a name pays for it."""
    policy = (
        "version: 1\nallow:\n"
        "  - {host: ['*.a.test', '*.b.test'], names: 2}\n"
        "  - {host: '**.a.test', names: 1}\n"
        "deny: {host: n0.a.test, ports: 22}\n"
    )
    zones = ("a.test", "b.test", "x.a.test")
    names = [f"n{number}.{zone}" for zone in zones for number in range(4)]
    leakstop(ask(*lookups(names)), mode="block", policy=policy)
    arrived = Counter(name.partition(".")[2] for name in asked(lab))
    assert arrived == {"a.test": 2, "b.test": 2, "x.a.test": 1}


def test_without_names_there_are_fifty(lab: Lab, leakstop: Guard) -> None:
    names = [f"n{number}.zone.test" for number in range(55)]
    run = leakstop(ask(*lookups(names)), mode="block", policy="version: 1\nallow: '*.zone.test'\n")
    assert asked(lab) == set(names[:50])
    assert reasons(run) == {("budget", "deny")}


def test_long_names_use_it_up_sooner(lab: Lab, leakstop: Guard) -> None:
    """4 KiB of labels: twenty names of two hundred bytes."""
    labels = [f"{number:02}{'x' * 48}" for number in range(30)]
    names = [".".join([label] * 3 + ["y" * 47]) + ".zone.test" for label in labels]
    policy = "version: 1\nallow: '**.zone.test'\n"
    leakstop(ask(*lookups(names)), mode="block", policy=policy)
    below = len(names[0]) - len(".zone.test")
    assert asked(lab) == set(names[: 4096 // below])
