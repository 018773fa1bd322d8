# SPDX-License-Identifier: MIT
"""Rules, homes and cases of a file, in each form they may have."""

from __future__ import annotations

import secrets

import pytest

from leakstop.policy.destination import Reference
from leakstop.policy.document import Document, read
from leakstop.policy.problem import PolicyErrors
from leakstop.policy.rules import Protocol, Rule

PRESETS = ("github", "python", "node")


@pytest.fixture
def token_text() -> str:
    """A made-up value, new in every run."""
    return "ghp_" + secrets.token_hex(18)


def document(text: str) -> Document:
    return read("policy.yml", f"version: 1\n{text}", presets=PRESETS)


def said(text: str) -> list[str]:
    found = []
    for entry in document(text).entries:
        if isinstance(entry, Reference):
            found.append(f"{entry.action.value} {entry.word}")
        else:
            ports = ",".join(map(str, entry.ports))
            found.append(
                f"{entry.action.value} {entry.place} {entry.protocol.value} {ports}".strip()
            )
    return found


@pytest.mark.parametrize(
    "text",
    [
        "allow: [a.test, b.test:8443]",
        "allow:\n  - a.test\n  - b.test:8443",
        "allow: |\n  a.test\n  b.test:8443  # staging",
        "allow: |\n\n  a.test, b.test:8443\n\n\nmode: audit",
        "allow: >\n  a.test\n  b.test:8443\n",
        "allow:\n  - |\n    a.test\n    b.test:8443\n",
        'allow: "a.test\\nb.test:8443"',
        "allow:\n  - host: a.test\n  - {host: b.test, ports: 8443}",
        "allow: [{host: a.test, ports: [443]}, {host: b.test, ports: [8443]}]",
    ],
)
def test_a_list_has_many_forms(text: str) -> None:
    assert said(text) == ["allow a.test tls 443", "allow b.test stream 8443"]


@pytest.mark.parametrize("text", ["allow: a.test", "allow: [a.test]", "allow: {host: a.test}"])
def test_one_item_stands_for_a_list(text: str) -> None:
    assert said(text) == ["allow a.test tls 443"]


def test_an_empty_list_is_a_list() -> None:
    assert said("allow: []\ndeny: []") == []


@pytest.mark.parametrize(
    ("rule", "meaning"),
    [
        ("{host: [a.test, b.test]}", ["allow a.test tls 443", "allow b.test tls 443"]),
        ("{host: postgres, ports: [5432]}", ["allow postgres stream 5432"]),
        ("{host: a.test, ports: [443, 80]}", ["allow a.test http 80", "allow a.test tls 443"]),
        (
            "{host: a.test, ports: [21, 50000-50100], protocol: tcp}",
            ["allow a.test tcp 21,50000-50100"],
        ),
        ('{host: a.test, ports: "*"}', ["allow a.test stream 1-65535"]),
        ("{host: a.test, protocol: dns}", ["allow a.test dns"]),
        ("{host: 'https://a.test'}", ["allow a.test tls 443"]),
        (
            "{ip: [192.0.2.1, '2001:db8::/32'], ports: 53, protocol: udp}",
            ["allow 192.0.2.1 udp 53", "allow 2001:db8::/32 udp 53"],
        ),
        ("{registry: [pip, npm]}", ["allow registry:pip", "allow registry:npm"]),
        ("{publish: npm, why: releases}", ["allow publish:npm"]),
        ("{preset: [github, python]}", ["allow github", "allow python"]),
    ],
)
def test_a_map_says_more(rule: str, meaning: list[str]) -> None:
    assert said(f"allow: {rule}") == meaning


def test_a_deny_may_be_quiet_and_has_a_reason() -> None:
    (rule,) = document("deny: {host: a.test, quiet: true, why: usage statistics}").entries
    assert isinstance(rule, Rule)
    assert (rule.protocol, rule.quiet, rule.why) == (Protocol.ANY, True, "usage statistics")


def test_a_word_in_a_map_keeps_what_was_said() -> None:
    (word,) = document("deny: {preset: github, quiet: true, why: no}").entries
    assert isinstance(word, Reference)
    assert (word.quiet, word.why) == (True, "no")


def test_an_origin_can_be_pasted() -> None:
    text = "allow:\n  - a.test:8443\n  - {host: b.test, ports: [443, 8443]}\n  - registry: pip\n"
    refs = [entry.ref for entry in document(text).entries]
    assert [(ref.text, ref.place()) for ref in refs] == [
        ("a.test:8443", "policy.yml:3"),
        ("{host: b.test, ports: [443, 8443]}", "policy.yml:4"),
        ("{host: b.test, ports: [443, 8443]}", "policy.yml:4"),
        ("registry:pip", "policy.yml:5"),
    ]


def test_a_line_of_a_block_text_is_an_origin() -> None:
    refs = [entry.ref for entry in document("allow: |\n\n  a.test\n\n  b.test\n").entries]
    assert [ref.line for ref in refs] == [4, 6]


@pytest.mark.parametrize(
    ("home", "text", "count"),
    [
        ("a.test", ("a.test",), 1),
        ("[a.test, 'b.test:8443']", ("a.test", "b.test:8443"), 2),
        ("{to: [a.test, publish:npm]}", ("a.test", "publish:npm"), 2),
        ("nowhere", ("nowhere",), 0),
        ("[nowhere]", ("nowhere",), 0),
        ("{to: nowhere}", ("nowhere",), 0),
    ],
)
def test_a_home_has_many_forms(home: str, text: tuple[str, ...], count: int) -> None:
    found = document(f"secrets:\n  TOKEN: {home}\n").homes["TOKEN"]
    assert found.text == text
    assert len(found.entries) == count


def test_a_value_where_a_home_belongs_is_not_printed(token_text: str) -> None:
    for home in (token_text, f"[{token_text}]", f"{{to: {token_text}}}", f'"{token_text}"'):
        with pytest.raises(PolicyErrors) as error:
            document(f"secrets:\n  TOKEN: {home}\n")
        assert token_text not in str(error.value)
        assert all(token_text not in problem.excerpt for problem in error.value.problems)


def test_a_short_value_is_not_taken_for_a_mistyped_word() -> None:
    """Nothing tells a password of eight letters from the name of a preset."""
    for value in (secrets.token_hex(4), secrets.token_hex(6), secrets.token_hex(4) + "."):
        with pytest.raises(PolicyErrors) as error:
            document(f"secrets:\n  TOKEN: '{value}'\n")
        assert value not in str(error.value)
    with pytest.raises(PolicyErrors, match="`githb` is neither a preset nor a destination"):
        document("secrets:\n  TOKEN: githb\n")


def test_values_instead_of_homes_are_not_printed(token_text: str) -> None:
    for section in (
        f"|\n  TOKEN={token_text}\n",
        f"[TOKEN={token_text}]",
        f"TOKEN={token_text}",
        f"{{TOKEN={token_text}}}",
        f"\n  TOKEN={token_text}:\n",
        f"\n  TOKEN: @{token_text}\n",
        f"\n  TOKEN: *{token_text}\n",
        f"\n  TOKEN: &{token_text}\n",
        f"\n  TOKEN: !{token_text}\n",
        f"\n  TOKEN: -----BEGIN KEY-----\n{token_text}\n-----END KEY-----\n",
        f"\n  TOKEN: a\t{token_text}\n",
        f"\n  TOKEN: [{token_text}\n",
        f"\n  TOKEN: x: {token_text}\n",
    ):
        with pytest.raises(PolicyErrors) as error:
            document(f"secrets: {section}")
        assert token_text not in str(error.value)


@pytest.mark.parametrize(
    ("case", "kind", "secret", "text"),
    [
        ("{allow: a.test}", "allow", "", "allow: a.test"),
        ("{deny: 'publish:npm'}", "deny", "", "deny: publish:npm"),
        ("{leak: TOKEN, to: 'a.test:8443'}", "leak", "TOKEN", "{leak: TOKEN, to: a.test:8443}"),
    ],
)
def test_a_case(case: str, kind: str, secret: str, text: str) -> None:
    (found,) = document(f"expect: {case}").cases
    assert (found.kind, found.secret, found.text) == (kind, secret, text)
    assert found.ref.place() == "policy.yml:2"
    assert len(found.entries) == 1


def test_a_denied_case_asks_for_the_same_flow_as_an_allowed_one() -> None:
    allowed, denied = document("expect: [{allow: a.test}, {deny: a.test}]").cases
    assert [str(rule.protocol.value) for rule in denied.entries if isinstance(rule, Rule)] == [
        "tls"
    ]
    assert isinstance(allowed.entries[0], Rule)


@pytest.mark.parametrize(
    "text",
    [
        "allow: [[a.test]]",
        "allow: {host: []}",
        "allow: {host: {a: b}}",
        "allow: {host: a.test, ports: []}",
        "allow: {host: a.test, why: [x]}",
        "allow: {host: ''}",
        "allow: ''",
        "secrets: {TOKEN: }",
        "secrets: {TOKEN: ''}",
        "secrets: {TOKEN: [a.test, '']}",
        "expect: a.test",
        "expect: {leak: [A], to: b.test}",
        "expect: {allow: [a.test]}",
    ],
)
def test_half_a_thing_is_refused(text: str) -> None:
    with pytest.raises(PolicyErrors):
        document(text)
