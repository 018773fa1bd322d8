# SPDX-License-Identifier: MIT
"""One grammar for a destination: what each spelling means."""

from __future__ import annotations

import pytest

from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.destination import (
    DestinationError,
    Extras,
    Reference,
    parse,
    reference,
)
from leakstop.policy.ports import parse_ports
from leakstop.policy.rules import PortRange, Protocol, Rule

REF = RuleRef("as written", "policy.yml", 7)
PRESETS = ("github", "python", "node", "debian", "metadata", "public-sinks", "runner")


def rules(text: str, action: Action = Action.ALLOW, extras: Extras | None = None) -> list[Rule]:
    entries = parse(text, action, REF, presets=PRESETS, extras=extras or Extras())
    assert all(isinstance(entry, Rule) for entry in entries)
    return [entry for entry in entries if isinstance(entry, Rule)]


def said(text: str, action: Action = Action.ALLOW, extras: Extras | None = None) -> list[str]:
    """Each rule as ``place protocol ports``."""
    return [
        f"{rule.place} {rule.protocol.value} {','.join(map(str, rule.ports))}".strip()
        for rule in rules(text, action, extras)
    ]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("api.example.test", "api.example.test tls 443"),
        ("api.example.test:443", "api.example.test tls 443"),
        ("api.example.test:80", "api.example.test http 80"),
        ("api.example.test:8443", "api.example.test stream 8443"),
        ("api.example.test:8000-8010", "api.example.test stream 8000-8010"),
        ("api.example.test:*", "api.example.test stream 1-65535"),
        ("API.example.test.:443", "api.example.test tls 443"),
        ("*.example.test:443", "*.example.test tls 443"),
        ("**.example.test", "**.example.test tls 443"),
        ("https://api.example.test", "api.example.test tls 443"),
        ("https://api.example.test:8443", "api.example.test tls 8443"),
        ("HTTPS://api.example.test", "api.example.test tls 443"),
        ("http://api.example.test", "api.example.test http 80"),
        ("http://api.example.test:8080", "api.example.test http 8080"),
        ("tcp://git.example.test:22", "git.example.test tcp 22"),
        ("udp://192.0.2.53:53", "192.0.2.53 udp 53"),
        ("dns://_srv.example.test", "_srv.example.test dns"),
        ("icmp://192.0.2.1", "192.0.2.1 icmp"),
        ("postgres:5432", "postgres stream 5432"),
        ("https://intranet", "intranet tls 443"),
        ("192.0.2.1", "192.0.2.1 tls 443"),
        ("192.0.2.0/24:8443", "192.0.2.0/24 stream 8443"),
        ("2001:db8::1", "2001:db8::1 tls 443"),
        ("2001:db8::/32", "2001:db8::/32 tls 443"),
        ("[2001:db8::1]:443", "2001:db8::1 tls 443"),
        ("[2001:db8::/32]:8443", "2001:db8::/32 stream 8443"),
        ("[2001:db8::1]", "2001:db8::1 tls 443"),
        ("http://[2001:db8::1]", "2001:db8::1 http 80"),
    ],
)
def test_an_allow_means(text: str, meaning: str) -> None:
    assert said(text) == [meaning]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("x.example.test", ["x.example.test any"]),
        ("**.example.test", ["**.example.test any"]),
        ("192.0.2.0/24", ["192.0.2.0/24 any"]),
        ("x.example.test:443", ["x.example.test tcp 443", "x.example.test udp 443"]),
        ("http://192.0.2.1", ["192.0.2.1 http 80"]),
        ("tcp://x.example.test", ["x.example.test tcp 1-65535"]),
        ("udp://x.example.test:443", ["x.example.test udp 443"]),
        ("dns://x.example.test", ["x.example.test dns"]),
    ],
)
def test_a_deny_means(text: str, meaning: list[str]) -> None:
    assert said(text, Action.DENY) == meaning


def test_a_map_groups_its_ports_by_protocol() -> None:
    ports = tuple(PortRange(port, port) for port in (80, 443, 8443, 9000))
    assert said("a.example.test", extras=Extras(ports=ports)) == [
        "a.example.test http 80",
        "a.example.test tls 443",
        "a.example.test stream 8443,9000",
    ]
    assert said("a.example.test", extras=Extras(Protocol.TCP, ports)) == [
        "a.example.test tcp 80,443,8443,9000"
    ]


def test_numbered_names_are_rules_of_one_origin() -> None:
    found = rules("shard{0..2}.store.test:8443")
    assert [str(rule.place) for rule in found] == [f"shard{n}.store.test" for n in range(3)]
    assert {rule.ref for rule in found} == {REF}


@pytest.mark.parametrize("action", Action)
def test_a_rule_carries_what_was_said_besides(action: Action) -> None:
    (rule, *_) = rules("a.example.test", action, Extras(quiet=True, why="because"))
    assert (rule.action, rule.ref, rule.quiet, rule.why) == (action, REF, True, "because")


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("github", "preset", "github"),
        ("public-sinks", "preset", "public-sinks"),
        ("registry:pip", "registry", "pip"),
        ("publish:npm", "publish", "npm"),
    ],
)
def test_a_word_is_a_reference(text: str, kind: str, name: str) -> None:
    (entry,) = parse(text, Action.DENY, REF, presets=PRESETS)
    assert entry == Reference(kind, name, Action.DENY, REF)
    assert isinstance(entry, Reference)
    assert entry.word == text


def test_without_words_a_bare_word_is_no_destination() -> None:
    with pytest.raises(DestinationError, match="one label needs its port"):
        parse("github", Action.ALLOW, REF, presets=PRESETS, words=False)


def test_a_word_brings_its_own_ports() -> None:
    with pytest.raises(DestinationError, match="its own ports"):
        reference(
            "registry",
            "pip",
            Action.ALLOW,
            REF,
            presets=PRESETS,
            extras=Extras(ports=(PortRange(1, 1),)),
        )


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("postgres", "`postgres:5432`"),
        ("pyhton", "`python`"),
        ("https://api.example.test/v1", "`api.example.test`"),
        ("http://api.example.test/v1", "`http://api.example.test`"),
        ("api.example.test/", "`api.example.test`"),
        ("api.example.test?x", "`api.example.test`"),
        ("a.example.test:443,8443", "ports: [443, 8443]"),
        ("a.example.test:53/udp", "`udp://a.example.test:53`"),
        ("a.example.test,", "`a.example.test`"),
        ("host:a.example.test", "`host: a.example.test`"),
        ("tcp://a.example.test", "`tcp://a.example.test:22`"),
        ("wss://a.example.test", "`https://`"),
        ("user@a.example.test", "`a.example.test`"),
        ("2001:db8::1%eth0", "`2001:db8::1`"),
        ("registry:gem", "pip, npm, apt"),
        ("publish:apt", "pip, npm"),
        ("${{ vars.X }}", "input `allow`"),
        ("a.example.test:http", "one port"),
        ("a.example.test:0", "check the number"),
        ("a.example.test:65536", "check the number"),
        ("nowhere", "secrets:"),
    ],
)
def test_a_mistake_has_its_cure(text: str, fix: str) -> None:
    with pytest.raises(DestinationError) as error:
        parse(text, Action.ALLOW, REF, presets=PRESETS)
    assert fix in error.value.fix


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("443", PortRange(443, 443)),
        ("0443", PortRange(443, 443)),
        ("1-65535", PortRange(1, 65535)),
        ("*", PortRange(1, 65535)),
    ],
)
def test_ports(text: str, ports: PortRange) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize("text", ["", "0", "65536", "9-8", "-1", "1-", "a", "4 43", "٤٤٣"])
def test_no_ports(text: str) -> None:
    with pytest.raises(DestinationError):
        parse_ports(text)
