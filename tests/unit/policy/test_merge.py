# SPDX-License-Identifier: MIT
"""Files, inputs and flags become one policy."""

from __future__ import annotations

import time

import pytest

from leakstop.model.finding import Severity
from leakstop.model.flow import Flow, Transport
from leakstop.model.verdict import Action, Leak, Mode
from leakstop.policy.canonical import from_canonical, to_canonical
from leakstop.policy.match import at_home, decide
from leakstop.policy.merge import Given, Overrides
from leakstop.policy.presets import BUILT_IN
from leakstop.policy.rules import Policy, Protocol
from unit.policy.written import built


def tcp(name: str, port: int = 443) -> Flow:
    return Flow(Transport.TCP, port, names=(name,))


def test_nothing_at_all_is_audit_with_the_runner() -> None:
    policy = built().policy
    assert (policy.mode, policy.leak, policy.fail_on) == (Mode.AUDIT, Leak.KILL, Severity.HIGH)
    assert policy.on_unsupported == ""
    assert {rule.ref.source for rule in policy.rules} == {BUILT_IN}
    assert policy.sinks
    assert policy.sources == ()


def test_lists_add_up_over_files_and_flags() -> None:
    overrides = Overrides(allow=(Given("--allow", "c.test"),))
    policy = built("allow: a.test", "allow: b.test\ndeny: x.test", overrides=overrides).policy
    assert [rule.ref.place() for rule in policy.rules if rule.ref.source != BUILT_IN] == [
        "policy-1.yml:2",
        "policy-2.yml:3",
        "policy-2.yml:2",
        "--allow:1",
    ]
    for name in ("a.test", "b.test", "c.test"):
        assert decide(policy, tcp(name)).policy is Action.ALLOW
    assert policy.sources == ("policy-1.yml", "policy-2.yml", "--allow")


def test_a_lockdown_adds_up_and_no_file_takes_from_it() -> None:
    files = {"base.yml": "version: 1\nlockdown: docker\n"}
    assert built("extends: ./base.yml\nlockdown: [sudo]", files=files).policy.lockdown == {
        "sudo",
        "docker",
    }
    assert built("extends: ./base.yml", files=files).policy.lockdown == {"docker"}
    assert built().policy.lockdown == frozenset()


def test_the_same_host_twice_adds_its_ports() -> None:
    policy = built("allow: [a.test, 'a.test:8443']", "allow: {host: a.test, ports: [80]}").policy
    for port in (443, 8443, 80):
        assert decide(policy, tcp("a.test", port)).policy is Action.ALLOW


def test_a_flag_wins_over_a_file_and_a_file_over_what_it_extends() -> None:
    files = {
        "base.yml": "version: 1\nmode: block\nleak: warn\nfail-on: low\non-unsupported: audit\n"
    }
    policy = built("extends: ./base.yml\nleak: fail", files=files).policy
    assert (policy.mode, policy.leak, policy.fail_on, policy.on_unsupported) == (
        Mode.BLOCK,
        Leak.FAIL,
        Severity.LOW,
        "audit",
    )
    flags = Overrides(
        mode=Mode.AUDIT, leak=Leak.KILL, fail_on=Severity.CRITICAL, on_unsupported="fail"
    )
    policy = built("extends: ./base.yml\nleak: fail", files=files, overrides=flags).policy
    assert (policy.mode, policy.leak, policy.fail_on, policy.on_unsupported) == (
        Mode.AUDIT,
        Leak.KILL,
        Severity.CRITICAL,
        "fail",
    )


def test_of_two_files_the_last_is_nearest() -> None:
    assert built("mode: block", "mode: audit").policy.mode is Mode.AUDIT
    assert built("mode: audit", "mode: block").policy.mode is Mode.BLOCK
    assert built("mode: block", "allow: a.test").policy.mode is Mode.BLOCK


def test_a_deny_beats_an_allow_whatever_the_order() -> None:
    for texts in (("allow: a.test", "deny: a.test"), ("deny: a.test", "allow: a.test")):
        assert decide(built(*texts).policy, tcp("a.test")).policy is Action.DENY


def test_homes_are_complete_and_open_nothing() -> None:
    overrides = Overrides(
        homes={"IN": ("in.test",)}, format_homes={"F": ("registry:npm",), "K": ("nowhere",)}
    )
    policy = built("secrets: {P: [github, p.test]}", overrides=overrides).policy
    homes = policy.homes
    assert {name: (home.text, home.placed_by, home.nowhere) for name, home in homes.items()} == {
        "P": (("github", "p.test"), "policy", False),
        "IN": (("in.test",), "input", False),
        "F": (("registry:npm",), "format", False),
        "K": (("nowhere",), "format", True),
    }
    assert at_home(policy, "P", tcp("api.git.test"))
    assert at_home(policy, "F", tcp("packages.test"))
    assert not at_home(policy, "K", tcp("packages.test"))
    assert decide(policy, tcp("p.test")).policy is Action.DENY


def test_a_policy_survives_its_canonical_form() -> None:
    policy = built(
        "mode: block\nallow: [python, 'shard{0..3}.a.test', '[2001:db8::1]:443', 'icmp://192.0.2.1']\n"
        "deny: [metadata, 'b.test:443', '**.c.test']\nsecrets: {T: github, N: nowhere}"
    ).policy
    assert policy.digest.startswith("sha256:")
    assert from_canonical(to_canonical(policy)) == policy


def test_the_digest_is_of_the_meaning_and_the_origin() -> None:
    def digest(text: str) -> str:
        return built(text).policy.digest

    assert digest("allow: a.test") == digest("allow:   a.test   # comment")
    assert digest("allow: a.test") != digest("allow: b.test")


@pytest.mark.parametrize(
    ("text", "allowed", "denied"),
    [
        ("allow: '*.a.test'", ["x.a.test"], ["x.y.a.test", "a.test"]),
        ("allow: '**.a.test'", ["x.a.test", "x.y.a.test"], ["a.test"]),
        ("allow: 'shard{0..2}.a.test'", ["shard0.a.test", "shard2.a.test"], ["shard3.a.test"]),
        ("allow: A.Test.", ["a.test"], ["b.a.test"]),
    ],
)
def test_from_text_to_verdict(text: str, allowed: list[str], denied: list[str]) -> None:
    policy: Policy = built(f"mode: block\n{text}").policy
    for name in allowed:
        assert decide(policy, tcp(name)).applied is Action.ALLOW
    for name in denied:
        assert decide(policy, tcp(name)).applied is Action.DENY


def test_ten_thousand_hosts_and_as_many_denials_are_merged_quickly() -> None:
    hosts = "".join(f"  host-{n}.a.test\n" for n in range(10_000))
    walls = "".join(f"  host-{n}.b.test\n" for n in range(10_000))
    text = f"mode: block\nallow: |\n{hosts}deny: |\n{walls}secrets: {{T: host-7.a.test}}"
    begun = time.process_time()
    result = built(text)
    assert len(result.policy.rules) > 20_000
    assert result.warnings == ()
    assert time.process_time() - begun < 5  # far above what it takes: 0.5 s on two slow cores


def test_apt_may_ask_for_service_records_and_gets_no_answer_quietly() -> None:
    indexes = {"registry:apt": ("http://mirror.test:80", "http://192.0.2.1:80")}
    rules = built("allow: registry:apt", indexes=indexes).policy.rules
    asides = [rule for rule in rules if rule.action is Action.DENY]
    assert [(str(rule.place), rule.protocol, rule.quiet) for rule in asides] == [
        ("_http._tcp.mirror.test", Protocol.DNS, True)
    ]
