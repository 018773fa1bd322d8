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
        ("mode: block", "nothing but the runner's own hosts may be reached"),
        ("mode: block\nallow: []", "nothing but the runner's own hosts may be reached"),
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
        "mode: block\nallow: runner",
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
