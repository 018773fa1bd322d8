# SPDX-License-Identifier: MIT
"""Lines to paste say exactly what was seen, or are not offered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.detect.advice import (
    after_leak,
    destination_rule,
    docker_of,
    home_line,
    rotate,
    scoped_rule,
)
from leakstop.detect.detector import Context
from leakstop.model.flow import Flow, Stream, Transport, Who
from leakstop.model.verdict import Action, Mode, RuleRef
from leakstop.policy.destination import parse
from leakstop.policy.document import read
from leakstop.policy.match import decide
from leakstop.policy.rules import Home, Policy
from leakstop.policy.scopes import EVERYBODY, Scope
from story import allow, home, secret

TCP, UDP, DNS, ICMP, OTHER = (
    Transport.TCP,
    Transport.UDP,
    Transport.DNS,
    Transport.ICMP,
    Transport.OTHER,
)


@pytest.mark.parametrize(
    ("rule", "scope", "written"),
    [
        ("a.test", Scope(), "a.test"),
        ("a.test", Scope(step=("Publish",)), "{host: a.test, step: Publish}"),
        ("github", Scope(step=("Publish",)), "{preset: github, step: Publish}"),
        ("publish:npm", Scope(step=("Publish",)), "{publish: npm, step: Publish}"),
        ("postgres:5432", Scope(container=("web",)), "{host: postgres:5432, container: web}"),
        ("tcp://a.test:22", Scope(step=("a: b",)), '{host: tcp://a.test:22, step: "a: b"}'),
        ("192.0.2.1:80", Scope(process=("/x",)), "{ip: 192.0.2.1:80, process: /x}"),
        ("[2001:db8::7]:80", Scope(process=("x",)), '{ip: "[2001:db8::7]:80", process: x}'),
        ("2001:db8::7", Scope(process=("x",)), '{ip: "2001:db8::7", process: x}'),
    ],
)
def test_a_rule_for_somebody(rule: str, scope: Scope, written: str) -> None:
    assert scoped_rule(rule, scope) == written
    read("p.yml", f"version: 1\nallow:\n  - {written}\n", presets=("github",))


@pytest.mark.parametrize(
    ("exe", "who", "scope"),
    [
        ("/usr/bin/dockerd", Who(), Scope(process=("/usr/bin/dockerd",))),
        ("/usr/bin/buildkitd", Who(), Scope(process=("/usr/bin/buildkitd",))),
        (
            "/usr/bin/buildkitd",
            Who(container=("moby/buildkit:v0", "buildx_buildkit_a0")),
            Scope(container=("*buildkit*",)),
        ),
        ("/usr/bin/curl", Who(), EVERYBODY),
        ("/tmp/{x}/dockerd", Who(), EVERYBODY),
    ],
)
def test_what_docker_is(exe: str, who: Who, scope: Scope) -> None:
    assert docker_of(exe, who) == scope


@pytest.mark.parametrize(
    ("transport", "place", "port", "rule"),
    [
        (TCP, "api.a.test", 443, "api.a.test"),
        (TCP, "api.a.test", 8443, "api.a.test:8443"),
        (TCP, "postgres", 443, "postgres:443"),
        (TCP, "198.51.100.7", 443, "198.51.100.7"),
        (TCP, "198.51.100.7", 80, "198.51.100.7:80"),
        (TCP, "2001:db8::7", 443, "2001:db8::7"),
        (TCP, "2001:db8::7", 80, "[2001:db8::7]:80"),
        (UDP, "ntp.a.test", 123, "udp://ntp.a.test:123"),
        (UDP, "2001:db8::7", 443, "udp://[2001:db8::7]:443"),
        (DNS, "_srv.a.test", 0, "_srv.a.test"),
        (DNS, "postgres", 0, "dns://postgres"),
        (ICMP, "198.51.100.7", 0, "icmp://198.51.100.7"),
        (OTHER, "198.51.100.7", 0, ""),
    ],
)
def test_destination_rule(transport: Transport, place: str, port: int, rule: str) -> None:
    assert destination_rule(Flow(transport, port), place) == rule


@pytest.mark.parametrize(
    ("stream", "shown", "place", "port", "rule"),
    [
        (Stream.TLS, "a.test", "a.test", 443, "a.test"),
        (Stream.TLS, "", "a.test", 443, "tcp://a.test:443"),
        (Stream.HTTP, "a.test", "a.test", 80, "a.test:80"),
        (Stream.HTTP, "a.test", "a.test", 443, "http://a.test:443"),
        (Stream.TLS, "a.test", "a.test", 80, "https://a.test:80"),
        (Stream.OTHER, "", "a.test", 22, "a.test:22"),
        (Stream.TLS, "", "a.test", 8443, "a.test:8443"),
        (Stream.HIDDEN, "cover.test", "a.test", 8443, "tcp://a.test:8443"),
        (Stream.OTHER, "", "198.51.100.7", 443, "198.51.100.7"),
    ],
)
def test_the_line_accepts_what_the_stream_shows(
    stream: Stream, shown: str, place: str, port: int, rule: str
) -> None:
    """Read back by the policy's own parser, it allows the very flow it is offered for."""
    ip = place if place[0].isdigit() else "198.51.100.7"
    names = () if ip == place else (place,)
    flow = Flow(TCP, port, ip, names, stream, shown)
    assert destination_rule(flow, place) == rule
    rules = parse(rule, Action.ALLOW, RuleRef(rule, "test"))
    assert decide(Policy(mode=Mode.BLOCK, rules=rules), flow).policy is Action.ALLOW


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*.a.test",
        "a.test, evil.test",
        "a.test #",
        "a.test\n- evil.test",
        "a: b",
        "x{0..9}.a.test",
        "-a.test",
        "***npm_token***.a.test",
        'a".test',
        "A.test",
    ],
)
@pytest.mark.parametrize("transport", [TCP, UDP, DNS, ICMP])
def test_a_name_that_would_say_more_than_it_shows_gives_no_line(
    name: str, transport: Transport
) -> None:
    assert destination_rule(Flow(transport, 443), name) == ""


def context(place: str, port: int = 443, **homes: Home) -> Context:
    """What is known of a TCP flow to ``place``."""
    views = {
        "NPM_TOKEN": secret("NPM_TOKEN", revoke="https://registry.test/tokens"),
        "GITHUB_TOKEN": secret("GITHUB_TOKEN", short_lived=True),
    }
    policy = Policy(homes=homes)
    return Context(policy, Mode.AUDIT, views, flow=Flow(TCP, port), place=place)


@pytest.mark.parametrize(
    ("known", "place", "port", "line"),
    [
        ({}, "a.test", 443, "secrets: {T: a.test}"),
        ({}, "a.test", 8443, "secrets: {T: a.test:8443}"),
        ({}, "2001:db8::7", 80, 'secrets: {T: "[2001:db8::7]:80"}'),
        ({}, "2001:db8::7", 443, 'secrets: {T: "2001:db8::7"}'),
        ({"T": home()}, "a.test", 443, "secrets: {T: a.test}"),
        ({"T": home(allow("b.test"))}, "a.test", 443, "secrets: {T: [b.test, a.test]}"),
        (
            {"T": Home(False, (), ("publish:npm", "*.b.test"))},
            "a.test",
            443,
            'secrets: {T: [publish:npm, "*.b.test", a.test]}',
        ),
        ({}, "evil test", 443, ""),
    ],
)
def test_home_line(known: dict[str, Home], place: str, port: int, line: str) -> None:
    assert home_line("T", context(place, port, **known)) == line


def test_rotate_knows_the_page_and_what_expires() -> None:
    here = context("a.test")
    assert rotate("NPM_TOKEN", here) == "rotate NPM_TOKEN (https://registry.test/tokens)"
    assert rotate("GITHUB_TOKEN", here) == "GITHUB_TOKEN expires with this job"
    assert rotate("OTHER", here) == "rotate OTHER"


def test_a_home_for_a_step_stays_for_that_step() -> None:
    mine = home(replace(allow("b.test"), scope=Scope(step=("Publish",))))
    assert home_line("T", context("a.test", 443, T=mine)) == (
        "secrets: {T: {to: [b.test, a.test], step: Publish}}"
    )
    there = Flow(TCP, 443, names=("b.test",))
    said = after_leak("T", replace(context("b.test", 443, T=mine), flow=there))
    assert "It belongs there for step `Publish` (.github/leakstop.yml:5) alone." in said
    assert "secrets:" not in said
