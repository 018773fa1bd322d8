# SPDX-License-Identifier: MIT
"""The one form in which a policy reaches the root process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from leakstop.errors import PolicyError
from leakstop.model.finding import Severity
from leakstop.model.verdict import Action, Leak, Mode, RuleRef
from leakstop.policy.canonical import (
    from_canonical,
    from_document,
    to_canonical,
    to_document,
    with_digest,
)
from leakstop.policy.rules import Home, Policy, Protocol
from leakstop.policy.scopes import Scope
from unit.policy.rulebook import allow, deny, home

FULL = Policy(
    mode=Mode.BLOCK,
    leak=Leak.FAIL,
    fail_on=Severity.MEDIUM,
    on_unsupported="audit",
    lockdown=frozenset({"sudo", "docker"}),
    rules=(
        allow("a.test", line=2),
        allow("*.b.test", line=3),
        allow("**.b.test", line=3),
        allow("192.0.2.1", line=4),
        allow("2001:db8::/32", line=5),
        allow("c.test", (80, 80), (8000, 8010), protocol=Protocol.TCP, line=6),
        deny("d.test", quiet=True, line=7),
        replace(deny("é.test"), place=allow("xn--9ca.test").place, why="ein Grund: »nie« 🙂\n"),
        replace(allow("p.test"), ref=RuleRef("p.test", "built in", 9, "python")),
        allow("icmp.test", protocol=Protocol.ICMP),
        allow("a.test", line=2),
        replace(allow("e.test"), scope=Scope(("Publish", "Up*"), ("/usr/bin/x",), ("*x*",))),
        replace(allow("f.test"), scope=Scope(runner=True)),
    ),
    homes={
        "TOKEN": home(allow("a.test"), allow("b.test", (8443, 8443))),
        "KEY": Home(nowhere=True, rules=(), text=("nowhere",), placed_by="format"),
    },
    sinks=(deny("**.paste.test"),),
    sources=(".github/leakstop.yml", "--allow"),
)


def signed(document: dict[str, Any]) -> bytes:
    """Canonical text of ``document`` with a fitting digest: what a careful forger would send."""
    body = {key: value for key, value in document.items() if key != "digest"}
    return compact({**body, "digest": "sha256:" + hashlib.sha256(compact(body)).hexdigest()})


def compact(document: object) -> bytes:
    separators = (",", ":")
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=separators).encode()


@pytest.mark.parametrize("policy", [Policy(), FULL], ids=["empty", "full"])
def test_what_was_written_is_read_back(policy: Policy) -> None:
    assert from_canonical(to_canonical(policy)) == with_digest(policy)
    assert from_document(to_document(policy)) == with_digest(policy)


def test_the_text_is_compact_sorted_and_utf_8() -> None:
    text = to_canonical(FULL)
    assert text == compact(json.loads(text))
    assert "🙂".encode() in text


def test_the_digest_is_over_all_the_rest() -> None:
    digest = with_digest(FULL).digest
    body = {key: value for key, value in to_document(FULL).items() if key != "digest"}
    assert digest == "sha256:" + hashlib.sha256(compact(body)).hexdigest()
    assert with_digest(with_digest(FULL)).digest == digest
    changes: list[dict[str, Any]] = [
        {"mode": Mode.AUDIT},
        {"leak": Leak.WARN},
        {"fail_on": Severity.LOW},
        {"on_unsupported": ""},
        {"lockdown": frozenset({"sudo"})},
        {"rules": FULL.rules[1:]},
        {"rules": (replace(FULL.rules[0], why="x"), *FULL.rules[1:])},
        {"rules": (replace(FULL.rules[0], scope=Scope(step=("x",))), *FULL.rules[1:])},
        {"rules": (replace(FULL.rules[0], scope=Scope(process=("x",))), *FULL.rules[1:])},
        {"rules": (replace(FULL.rules[0], scope=Scope(container=("x",))), *FULL.rules[1:])},
        {"rules": (replace(FULL.rules[0], scope=Scope(runner=True)), *FULL.rules[1:])},
        {"homes": {"TOKEN": FULL.homes["TOKEN"]}},
        {"sinks": ()},
        {"sources": ()},
    ]
    digests = {with_digest(replace(FULL, **change)).digest for change in changes}
    assert len(digests | {digest}) == len(changes) + 1


def test_the_order_in_which_secrets_were_written_does_not_change_the_digest() -> None:
    turned = replace(FULL, homes=dict(reversed(FULL.homes.items())))
    assert to_canonical(turned) == to_canonical(FULL)


def test_a_policy_that_was_changed_is_written_with_its_new_digest() -> None:
    audit = replace(with_digest(FULL), mode=Mode.AUDIT)
    assert from_canonical(to_canonical(audit)).digest == with_digest(audit).digest
    assert with_digest(audit).digest != with_digest(FULL).digest


def test_rules_that_differ_in_their_place_alone_share_a_group_and_keep_their_order() -> None:
    rules = tuple(allow(f"h{line}.test", (line % 5 + 1,) * 2, line=line) for line in range(50))
    assert len(to_document(Policy(rules=rules))["rules"]) == 5
    assert from_canonical(to_canonical(Policy(rules=rules))).rules == rules


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff",
        b"NaN",
        b"[" * 100_000,
        to_canonical(FULL).replace(b",", b", ", 1),
        to_canonical(FULL) + b"\n",
        to_canonical(FULL)[:-1],
        to_canonical(FULL).replace(b'"mode":"block"', b'"mode":"audit"'),
        to_canonical(FULL).replace(b'"mode":"block"', b'"mode":"block","mode":"block"'),
        to_canonical(FULL).replace(b"sha256:", b"sha512:"),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyError, match="the compiled policy is refused"):
        from_canonical(data)


def drop(*path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return change


def put(*path: Any) -> Callable[[Any], None]:
    """Set the field at ``path[:-1]`` to the last of ``path``."""

    def change(document: Any) -> None:
        for step in path[:-2]:
            document = document[step]
        document[path[-2]] = path[-1]

    return change


ENTRY = ("rules", 0, "names", 0)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (put("format", 2), "its format is not 1"),
        (put("format", True), "`format` of a policy"),
        (put("canaries", []), "unknown field `canaries` of a policy"),
        (put("lockdown", ["sudo", "docker"]), "a lockdown of something else"),
        (put("lockdown", ["sudo", "sudo"]), "a lockdown of something else"),
        (put("lockdown", ["network"]), "a lockdown of something else"),
        (put("lockdown", "sudo"), "`lockdown` of a policy"),
        (drop("sinks"), "`sinks` of a policy is missing"),
        (put("mode", "enforce"), "`mode` of a policy is 'enforce'"),
        (put("leak", None), "`leak` of a policy"),
        (put("on_unsupported", "ignore"), "`on_unsupported` of a policy is 'ignore'"),
        (put("sources", [1]), "something else than text"),
        (put("rules", {}), "`rules` of a policy"),
        (put("rules", 0, []), "a rule that is no object"),
        (put("rules", 0, "step", "x"), "unknown field `step` of a rule"),
        (put("rules", 0, "quiet", 0), "`quiet` of a rule"),
        (drop("rules", 0, "scope"), "`scope` of a rule is missing"),
        (put("rules", 0, "scope", []), "`scope` of a rule"),
        (put("rules", 0, "scope", {"steps": ["x"]}), "unknown field `steps` of a scope"),
        (put("rules", 0, "scope", {"step": "x"}), "`step` of a scope"),
        (put("rules", 0, "scope", {"step": [1]}), "something else than text"),
        (put("rules", 0, "scope", {"step": []}), "not in their one form and order"),
        (put("rules", 0, "scope", {"process": ["/" + "x" * 255]}), "the kernel has no room for"),
        (put("rules", 0, "scope", {"runner": False}), "not in their one form and order"),
        (put("rules", 0, "scope", {"runner": 1}), "`runner` of a scope"),
        (put("rules", 0, "action", "maybe"), "`action` of a rule"),
        (put("rules", 0, "protocol", "quic"), "`protocol` of a rule"),
        (put("rules", 0, "ports", []), "`tls` without ports"),
        (put("rules", 0, "protocol", "dns"), "`dns` with ports"),
        (put("rules", 0, "ports", [[0, 1]]), "no range of ports: 0-1"),
        (put("rules", 0, "ports", [[2, 1]]), "no range of ports: 2-1"),
        (put("rules", 0, "ports", [[1, 65536]]), "no range of ports: 1-65536"),
        (put("rules", 0, "ports", [[True, 443]]), "not two numbers"),
        (put("rules", 0, "ports", [443]), "not two numbers"),
        (put("rules", 0, "addresses", []), "unknown field `addresses` of a rule"),
        (drop("rules", 0, "names"), "`addresses` of a rule is missing"),
        (put(*ENTRY, "a.test"), "without its number, place, line and text"),
        (put(*ENTRY, [0, "a.test", 1]), "without its number, place, line and text"),
        (put(*ENTRY, [0, "a.test", -1, "a.test"]), "without its number, place, line and text"),
        (put(*ENTRY, [0, "a.test", True, "a.test"]), "without its number, place, line and text"),
        (put(*ENTRY, [0, "A.test", 1, ""]), "no name: 'A.test'"),
        (put(*ENTRY, [0, "a..test", 1, ""]), "no name"),
        (put(*ENTRY, [0, "a.test.", 1, ""]), "no name"),
        (put(*ENTRY, [0, "a.test\n", 1, ""]), "no name"),
        (put(*ENTRY, [0, "a.\0.test", 1, ""]), "no name"),
        (put(*ENTRY, [0, "*.*.test", 1, ""]), "no name"),
        (put(*ENTRY, [0, "**.", 1, ""]), "no name"),
        (put(*ENTRY, [0, "a" * 64 + ".test", 1, ""]), "no name"),
        (put(*ENTRY, [0, "a." * 127 + "test", 1, ""]), "no name"),
        (put("rules", 1, "addresses", 0, 1, "192.0.2.1/24"), "no address"),
        (put("rules", 1, "addresses", 0, 1, "192.0.2.1/32"), "not in their one form"),
        (put("rules", 1, "addresses", 0, 1, "2001:DB8::"), "not in their one form"),
        (put("rules", 1, "addresses", 0, 1, "::ffff:192.0.2.1"), "not in its one form"),
        (put("rules", 1, "addresses", 0, 1, "fe80::1%eth0"), "not in its one form"),
        (put(*ENTRY, 0, 1), "not in their one form and order"),
        (put(*ENTRY, 0, True), "without its number"),
        (put(*ENTRY, 0, 99), "not in their one form and order"),
        (lambda document: document["rules"].reverse(), "not in their one form and order"),
        (lambda document: document["rules"].append(document["rules"][0]), "one form and order"),
        (put("rules", 0, "names", []), "not in their one form and order"),
        (put("homes", "KEY", {}), "`nowhere` of a home is missing"),
        (put("homes", "KEY", "placed_by", "me"), "`placed_by` of a home is 'me'"),
        (put("homes", "KEY", "to", []), "unknown field `to` of a home"),
        (put("homes", "TOKEN", "nowhere", True), "nowhere and somewhere"),
    ],
)
def test_a_fitting_digest_does_not_excuse_a_malformed_policy(
    change: Callable[[Any], None], what: str
) -> None:
    document = to_document(FULL)
    change(document)
    with pytest.raises(PolicyError) as caught:
        from_canonical(signed(document))
    assert what in caught.value.what


def test_an_allow_of_every_protocol_is_refused() -> None:
    everything = replace(deny("a.test"), action=Action.ALLOW)
    with pytest.raises(PolicyError, match="an allow without a protocol"):
        from_canonical(to_canonical(Policy(rules=(everything,))))


def test_a_text_that_is_not_utf_8_is_neither_written_nor_read() -> None:
    with pytest.raises(PolicyError, match="not UTF-8"):
        to_canonical(Policy(sources=("policy-\udcff.yml",)))
    with pytest.raises(PolicyError, match="not UTF-8"):
        from_canonical(b'{"sources":["\\ud800"]}')


def test_ten_thousand_rules_come_back() -> None:
    rules = tuple(allow(f"h{number}.test", line=number) for number in range(10_000))
    policy = with_digest(Policy(rules=rules))
    assert from_canonical(to_canonical(policy)) == policy
