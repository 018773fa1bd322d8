# SPDX-License-Identifier: MIT
"""Legal, but probably not meant."""

from __future__ import annotations

import pytest

from leakstop.policy.zones import TENANTS
from unit.policy.written import built

ZONE = max(sorted(TENANTS), key=lambda zone: zone.count("."))
ABOVE = ZONE.partition(".")[2]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("mode: block", "no step may reach anything"),
        ("mode: block\nallow: []", "no step may reach anything"),
        ('allow: "*.store.test"', "anyone can own a name in this zone"),
        (f'allow: "**.{ZONE}"', "anyone can own a name in this zone"),
        (f'allow: "**.{ABOVE}"', "anyone can own a name in this zone"),
        ('allow: "*.paste.test:8443"', "anyone can own a name in this zone"),
        ('secrets: {T: "*.store.test"}', "anyone can own a name in this zone"),
        ("allow: 0.0.0.0/0", "every address there is"),
        ("allow: '::/0'", "every address there is"),
        ("allow: public-sinks", "opens places where anyone can store data"),
        ('deny: "*.example.test"', "`a.b.example.test` is not covered"),
        ("deny: results.runner.test", "which the runner itself needs"),
        ("deny: results.runner.test:443", "which the runner itself needs"),
        ("allow: node\ndeny: publish:npm", "cannot tell them apart"),
        ("allow: runner", "here it is to the job's steps"),
        ("deny: {host: a.test, process: /bin/curl}", "write `/usr/bin/curl`, or the bare name"),
        ("allow: {publish: pip}", "`publish:pip` is open to every step of the job"),
        ("allow: publish:npm", "`{publish: npm, step: NAME}`"),
        ("allow: {publish: npm, process: npm}", "is a sieve, not a boundary"),
        ("allow: {publish: npm, container: node*}", "any step can start such a container"),
        (
            "allow: [registry:npm, {publish: npm, step: Publish}]",
            "alone, but `registry:npm` (policy-1.yml:2) opens packages.test to everybody",
        ),
        (
            "allow:\n  - {host: a.b.test, container: x}\n  - '*.b.test'",
            "(policy-1.yml:4) opens a.b.test to everybody",
        ),
        (
            "allow: {host: cr.test, step: [Push, docker/build-push-action]}",
            "`step: docker/build-push-action` reaches no registry itself",
        ),
        (
            "allow: cr.test\nsecrets: {T: {to: cr.test, step: docker/login-action@v3}}",
            "`step: docker/login-action@v3` reaches no registry itself",
        ),
        (
            "allow: {ip: 192.0.2.53, ports: 53, protocol: udp, process: dnsmasq}",
            "192.0.2.53 is no trusted resolver",
        ),
        ("mode: block\nallow: a.test\nsecrets: {T: b.test}", "not reachable"),
        ("mode: block\nallow: b.test\nsecrets: {T: 'b.test:8443'}", "not reachable"),
        ("mode: block\nallow: b.test\ndeny: b.test\nsecrets: {T: b.test}", "a `deny` closes it"),
    ],
)
def test_a_warning(text: str, warning: str) -> None:
    warnings = built(text).warnings
    assert len(warnings) == 1
    assert warning in warnings[0]
    assert "\n   = " in warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "allow: a.test",
        "mode: block\nallow: a.test",
        "allow: {publish: npm, step: Publish}",
        "allow: {publish: npm, step: Publish, process: npm}",
        "allow: [{host: a.test, step: A}, {host: a.test, step: B}, 'a.test:8443']",
        "allow: {host: cr.test, process: /usr/bin/dockerd}",
        "deny: {host: results.runner.test, step: '*'}",
        "deny: {preset: public-sinks, step: Build}",
        "mode: block\nallow: {host: a.test, step: A}\nsecrets: {T: {to: a.test, step: A}}",
        "allow: bucket.store.test",
        'allow: "*.bucket.store.test"',
        'allow: {host: "*.store.test", why: our own account makes a name for each build}',
        'deny: "**.example.test"',
        "deny: results.runner.test:8443",
        "deny: udp://results.runner.test",
        "allow: node\ndeny: a.test",
        "secrets: {T: b.test}",
        "mode: block\nallow: b.test\nsecrets: {T: b.test}",
        'mode: block\nallow: "*.b.test"\nsecrets: {T: a.b.test}',
        'mode: block\nallow: "*.b.test"\nsecrets: {T: "*.b.test"}',
        "mode: block\nallow: 192.0.2.0/24\nsecrets: {T: 192.0.2.7}",
        "mode: block\nallow: python\nsecrets: {T: registry:pip, N: nowhere}",
        "mode: block\nallow: 'dns://b.test'\nsecrets: {T: 'dns://b.test'}",
    ],
)
def test_nothing_to_say(text: str) -> None:
    assert built(text).warnings == ()


def test_a_thing_is_said_once() -> None:
    assert len(built('allow: ["s{0..9}.a.test", "*.store.test"]').warnings) == 1


def test_a_warning_has_its_place() -> None:
    (warning,) = built("allow:\n  - a.test\n  - 0.0.0.0/0").warnings
    assert warning.startswith("policy-1.yml:4: warning: ")
