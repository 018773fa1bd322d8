# SPDX-License-Identifier: MIT
"""The forms that a name comes in, as docs/policy.md has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bypass.test_names_questions import ask, said
from lab import Lab
from lab.guard import DENIED, Guarded
from lab.network import HOME

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

GO = f"connect|{HOME[0]}|443|home.test"


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("home.test", "HOME.Test"),
        ("Home.TEST", "home.test"),
        ("home.test.", "home.test"),
        ("home.test", "home.test."),
        ("bücher.test", "xn--bcher-kva.test"),
        ("xn--bcher-kva.test", "bücher.test"),
        ("*.corp.test", "a_1-b.corp.test"),
    ],
)
def test_one_name_in_many_forms(lab: Lab, leakstop: Guard, mode: str, rule: str, name: str) -> None:
    for zone in ("xn--bcher-kva.test", "a_1-b.corp.test"):
        lab.dns.zone[zone] = HOME[:1]
    policy = f"version: 1\nallow: '{rule}'\n"
    run = leakstop(ask(f"lookup|{name}"), mode=mode, policy=policy)
    assert said(run) == [[HOME[0]]]
    assert (run.code, run.findings()) == (0, [])


@pytest.mark.parametrize(
    "name", ["home.test.evil.test", "xhome.test", "home-test", "test", "hometest", "a.home.test"]
)
def test_a_name_that_looks_alike_is_another(lab: Lab, leakstop: Guard, name: str) -> None:
    lab.dns.zone[name] = HOME[:1]
    policy = "version: 1\nallow: home.test\n"
    run = leakstop(ask(f"udp|plain|{name}", GO), mode="block", policy=policy)
    assert run.code == DENIED
    assert lab.dns.questions == []
    assert said(run)[0] in ([], "PermissionError")
    assert said(run)[1] == "PermissionError"
    assert lab.home.connections == []


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_search_domain_makes_another_name(lab: Lab, leakstop: Guard, mode: str) -> None:
    """What is judged is what is asked for: the rule has the whole name."""
    lab.dns.zone["git.corp.test"] = HOME[:1]
    policy = "version: 1\nallow: [git.corp.test, home.test]\n"
    searched = {"LOCALDOMAIN": "corp.test"}
    steps = ["lookup|git", "lookup|home.test"]
    run = leakstop(ask(*steps), mode=mode, policy=policy, env=searched)
    assert said(run) == [[HOME[0]], [HOME[0]]]
    assert (run.code, run.findings()) == (0, [])


def test_a_rule_for_one_label_is_not_searched(lab: Lab, leakstop: Guard) -> None:
    lab.dns.zone["git.corp.test"] = HOME[:1]
    run = leakstop(
        ask("lookup|git"),
        mode="block",
        policy="version: 1\nallow: git:22\n",
        env={"LOCALDOMAIN": "corp.test"},
    )
    assert run.code == DENIED
    assert not lab.dns.asked("git.corp.test")


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_name_of_one_label(lab: Lab, leakstop: Guard, mode: str) -> None:
    lab.dns.zone["gitea"] = HOME[:1]
    steps = ["lookup|gitea", f"connect|{HOME[0]}|443|gitea"]
    run = leakstop(ask(*steps), mode=mode, policy="version: 1\nallow: gitea:443\n")
    assert said(run) == [[HOME[0]], "ok"]
    assert (run.code, run.findings()) == (0, [])
