# SPDX-License-Identifier: MIT
"""One file as a whole: keys, choices, what it extends, and all of its errors at once."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakstop.model.verdict import Action
from leakstop.policy import keys
from leakstop.policy.document import read
from leakstop.policy.problem import PolicyErrors

PRESETS = ("github", "python")


def test_a_whole_file() -> None:
    document = read(
        ".github/leakstop.yml",
        """\
# yaml-language-server: $schema=policy-v1.schema.json
version: 1
extends: ./base.yml
mode: block
leak: fail
fail-on: medium
on-unsupported: audit
lockdown: [sudo, docker]
allow:
  - github
  - a.test
deny: b.test
secrets:
  TOKEN: a.test
expect:
  - allow: a.test
""",
        presets=PRESETS,
    )
    assert [extended.path for extended in document.extends] == [".github/base.yml"]
    assert document.choices == {
        "mode": "block",
        "leak": "fail",
        "fail-on": "medium",
        "on-unsupported": "audit",
    }
    assert [(entry.action, entry.ref.text) for entry in document.entries] == [
        (Action.DENY, "b.test"),
        (Action.ALLOW, "github"),
        (Action.ALLOW, "a.test"),
    ]
    assert document.lockdown == {"sudo", "docker"}
    assert list(document.homes) == ["TOKEN"]
    assert len(document.cases) == 1


@pytest.mark.parametrize("version", ["1", '"1"', "'1'"])
def test_the_version_is_a_text(version: str) -> None:
    assert read("policy.yml", f"version: {version}", presets=()).entries == ()


@pytest.mark.parametrize("version", ["1.0", "01", "2", "v1", "[1]", ""])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(PolicyErrors, match="version"):
        read("policy.yml", f"version: {version}", presets=())


@pytest.mark.parametrize("key", keys.RESERVED_TOP)
def test_a_reserved_key_names_its_release(key: str) -> None:
    with pytest.raises(PolicyErrors, match=f"`{key}` needs leakstop ≥ {keys.RESERVED[key]}"):
        read("policy.yml", f"version: 1\n{key}: x\n", presets=())


@pytest.mark.parametrize("key", keys.RESERVED_RULE)
def test_a_reserved_key_of_a_rule_names_its_release(key: str) -> None:
    with pytest.raises(PolicyErrors, match=f"`{key}` needs leakstop ≥ {keys.RESERVED[key]}"):
        read("policy.yml", f"version: 1\nallow: {{host: a.test, {key}: x}}\n", presets=())


@pytest.mark.parametrize("key", keys.RESERVED_CASE)
def test_a_reserved_key_of_a_case_names_its_release(key: str) -> None:
    with pytest.raises(PolicyErrors, match=f"`{key}` needs leakstop ≥ {keys.RESERVED[key]}"):
        read("policy.yml", f"version: 1\nexpect: {{allow: a.test, {key}: x}}\n", presets=())


def test_independent_errors_come_together_and_none_follows_from_another() -> None:
    text = "version: 1\nmode: enforce\nallow:\n  - gihub\n  - host: a.test\n    port: 1\nleak: no\n"
    with pytest.raises(PolicyErrors) as error:
        read("policy.yml", text, presets=PRESETS)
    assert [problem.where for problem in error.value.problems] == [
        "policy.yml:2:7",
        "policy.yml:4:5",
        "policy.yml:6:5",
        "policy.yml:7:7",
    ]


@pytest.mark.parametrize(
    ("name", "written", "path"),
    [
        ("policy.yml", "./base.yml", "base.yml"),
        ("policy.yml", "base.yml", "base.yml"),
        (".github/leakstop.yml", "base.yml", ".github/base.yml"),
        (".github/leakstop.yml", "../base.yml", "base.yml"),
        ("/etc/leakstop/policy.yml", "./base.yml", "/etc/leakstop/base.yml"),
        ("input `policy`", "./.github/base.yml", ".github/base.yml"),
    ],
)
def test_a_path_is_relative_to_its_file(name: str, written: str, path: str) -> None:
    document = read(name, f"version: 1\nextends: {written}\n", presets=())
    assert [extended.path for extended in document.extends] == [path]


def test_a_preset_that_is_denied_is_read_as_denials() -> None:
    document = read("p.yml", "version: 1\nallow: a.test\n", presets=(), allow_as=Action.DENY)
    assert [entry.action for entry in document.entries] == [Action.DENY]


def test_ten_thousand_hosts_are_read_quickly() -> None:
    lines = "".join(f"  host-{n}.example.test:8443\n" for n in range(10_000))
    begun = time.process_time()
    document = read("policy.yml", f"version: 1\nallow: |\n{lines}", presets=())
    assert len(document.entries) == 10_000
    assert time.process_time() - begun < 3  # far above what it takes: 0.2 s on two slow cores


_MARKS = ["\n", "\n  ", "- ", ": ", ", ", "|\n  ", ">\n  ", "&a ", "!b ", *"[]{}'\"#*@ü"]
_WORDS = [
    "version: 1",
    "allow:",
    "deny:",
    "secrets:",
    "expect:",
    "extends:",
    "mode:",
    "host",
    "ports",
    "to",
    "leak",
    "nowhere",
]
_PLACES = [
    "a.test",
    "*.b.test",
    "s{0..3}.c.test",
    "192.0.2.0/24",
    "443",
    "8000-8010",
    "https://",
    "registry:pip",
]
_PIECES = st.sampled_from([*_MARKS, *_WORDS, *_PLACES])


@given(st.lists(_PIECES, max_size=30).map("".join))
def test_whatever_is_typed_is_read_or_explained(text: str) -> None:
    try:
        read("policy.yml", text, presets=PRESETS)
    except PolicyErrors as error:
        assert str(error).startswith("policy.yml:")
