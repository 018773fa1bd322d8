# SPDX-License-Identifier: MIT
"""The published schema and the loader agree about the words of the language."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from leakstop.model.flow import Flow, Transport, Who
from leakstop.model.verdict import Action
from leakstop.policy import keys
from leakstop.policy.destination import MANAGERS
from leakstop.policy.document import read
from leakstop.policy.expect import run
from leakstop.policy.match import decide
from leakstop.policy.presets import NAMES
from leakstop.policy.problem import PolicyErrors
from leakstop.policy.tables import compile_tables
from unit.policy.written import built

ROOT = Path(__file__).parents[3]
SCHEMA: dict[str, Any] = json.loads((ROOT / "schemas" / "policy-v1.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)

# A library, a monorepo, an image, a cloud, a baseline: without what later releases bring.
LIBRARY = """\
version: 1
mode: block
allow:
  - github                          # checkout, actions, releases
  - python                          # the index that pip is configured for
  - coverage.example.test
  - publish: pip
    step: Publish                   # the step's name, id or uses:
    why: trusted publishing; no token is stored
secrets:
  COVERAGE_TOKEN: coverage.example.test
lockdown: [sudo, docker]
expect:
  - allow: registry:pip
  - {allow: "publish:pip", step: Publish}
  - deny: publish:pip
  - {leak: COVERAGE_TOKEN, to: api.github.example.test}
"""
MONOREPO = """\
version: 1
mode: block
allow:
  - github
  - node
  - host: browsers.example.test
    step: "*playwright install*"
    why: browsers of the end-to-end tests
deny:
  - host: telemetry.example.test
    quiet: true
    why: usage statistics of the build tool
secrets:
  NPM_TOKEN: {to: publish:npm, step: [changesets/action, Publish]}
  REMOTE_CACHE_TOKEN: cache.example.test
expect:
  - {deny: "publish:npm"}
  - {leak: NPM_TOKEN, to: cache.example.test}
"""
IMAGE = """\
version: 1
mode: block
allow:
  - github
  - host: [cr.example.test, blobs.cr.example.test]
    process: [/usr/bin/dockerd, buildkitd]
  - host: [cr.example.test, blobs.cr.example.test]
    container: "*buildkit*"
deny: {host: cr.example.test, step: "Build?", quiet: true}
secrets:
  CR_PASSWORD: cr.example.test
expect:
  - {allow: cr.example.test, process: /usr/bin/dockerd}
  - {allow: cr.example.test, container: moby/buildkit}
  - deny: cr.example.test
  - {leak: CR_PASSWORD, to: blobs.cr.example.test, step: "3"}
"""
TERRAFORM = """\
version: 1
mode: block
allow:
  - github
  - releases.example.test
  - sts.eu-west-1.cloud.test
deny: metadata
secrets:
  AWS_SECRET_ACCESS_KEY: nowhere
  AWS_SESSION_TOKEN:
    - "*.eu-west-1.cloud.test"
    - iam.cloud.test
expect:
  - deny: other.s3.eu-west-1.cloud.test
  - deny: http://169.254.169.254
"""
BASELINE = """\
version: 1
mode: audit
leak: kill
fail-on: medium
on-unsupported: audit
lockdown: [sudo, docker]
extends: [./base.yml]
allow:
  - github
  - publish: [pip, npm]
  - host: ftp.partner.test
    ports: [21, 50000-50100]
    protocol: tcp
  - ip: [192.0.2.0/24, "2001:db8::1"]
    ports: 8443
deny:
  - public-sinks
  - metadata
secrets:
  ARTIFACTS_TOKEN: {to: artifacts.corp.test}
expect: {deny: x.paste.test}
"""
TEXTS = "version: '1'\nlockdown: sudo\nallow: |\n  github\n  a.test:443\ndeny: []\n"
ACCEPTED = [LIBRARY, MONOREPO, IMAGE, TERRAFORM, BASELINE, TEXTS]

REFUSED = [
    "allow: a.test",
    "version: 2",
    "version: 1\nalow: a.test",
    "version: 1\nmode: enforce",
    "version: 1\nleak: block",
    "version: 1\nlockdown: [sudo, network]",
    "version: 1\nlockdown: []",
    "version: 1\nlockdown: true",
    "version: 1\nallow: {host: a.test, port: 443}",
    "version: 1\nallow: {host: a.test, ip: 192.0.2.1}",
    "version: 1\nallow: {ports: [443]}",
    "version: 1\nallow: {host: a.test, ports: [https]}",
    "version: 1\nallow: {host: a.test, ports: [65536]}",
    "version: 1\nallow: {host: a.test, protocol: https}",
    "version: 1\nallow: {registry: gem}",
    "version: 1\nallow: {publish: apt}",
    "version: 1\nallow: {preset: gihub}",
    "version: 1\nallow: {host: a.test, quiet: true}",
    "version: 1\nallow:\n  - api.example.test: 8443",
    "version: 1\nallow: ''",
    "version: 1\nallow:",
    "version: 1\nsecrets: {bad-name: a.test}",
    "version: 1\nsecrets: {T: []}",
    "version: 1\nsecrets: [T]",
    "version: 1\nexpect: [a.test]",
    "version: 1\nexpect: {leak: T}",
    "version: 1\nexpect: {allow: a.test, deny: b.test}",
    "version: 1\nexpect: {allow: a.test, to: b.test}",
    *(f"version: 1\n{key}: x" for key in keys.RESERVED_TOP),
    *(f"version: 1\ndeny: {{host: a.test, {key}: x}}" for key in keys.RESERVED_RULE),
    *(f"version: 1\nexpect: {{deny: a.test, {key}: x}}" for key in keys.RESERVED_CASE),
    "version: 1\nsecrets: {T: {to: a.test, http: x}}",
    "version: 1\nsecrets: {T: {step: Publish}}",
    "version: 1\nallow: {host: a.test, step: []}",
    "version: 1\nallow: {host: a.test, step: ''}",
    "version: 1\nallow: {host: a.test, process: bin/curl}",
    "version: 1\nallow: {host: a.test, process: /usr/bin/*}",
    "version: 1\nallow: {host: a.test, process: curl -s}",
    "version: 1\nallow: {host: a.test, container: {image: x}}",
    "version: 1\nexpect: {allow: a.test, step: [a, b]}",
]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", ACCEPTED)
def test_both_accept(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text))
    read("policy.yml", text, presets=NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_accepts_the_presets(name: str) -> None:
    VALIDATOR.validate(yaml.safe_load((ROOT / "policies" / f"{name}.yml").read_text()))


@pytest.mark.parametrize("text", REFUSED)
def test_both_refuse(text: str) -> None:
    assert not VALIDATOR.is_valid(yaml.safe_load(text))
    with pytest.raises(PolicyErrors):
        read("policy.yml", text, presets=NAMES)


def _open(properties: dict[str, Any]) -> set[str]:
    return {name for name, rule in properties.items() if rule.get("not") != {}}


def _reserved(properties: dict[str, Any]) -> dict[str, str]:
    return {
        name: rule["description"].removeprefix("reserved: needs leakstop ≥ ")
        for name, rule in properties.items()
        if rule.get("not") == {}
    }


@pytest.mark.parametrize(
    ("properties", "known", "reserved"),
    [
        (SCHEMA["properties"], keys.TOP, keys.RESERVED_TOP),
        (SCHEMA["$defs"]["rule"]["properties"], keys.RULE, keys.RESERVED_RULE),
        (SCHEMA["$defs"]["case"]["properties"], keys.CASE, keys.RESERVED_CASE),
        (SCHEMA["$defs"]["home"]["then"]["properties"], keys.HOME, ()),
    ],
)
def test_the_keys_are_the_same(
    properties: dict[str, Any], known: tuple[str, ...], reserved: tuple[str, ...]
) -> None:
    assert _open(properties) == set(known)
    assert _reserved(properties) == {name: keys.RESERVED[name] for name in reserved}


def test_the_choices_are_the_same() -> None:
    for name in ("mode", "leak", "fail-on", "on-unsupported"):
        assert tuple(SCHEMA["properties"][name]["enum"]) == keys.CHOICES[name]
    assert tuple(SCHEMA["$defs"]["right"]["enum"]) == keys.CHOICES["lockdown"]
    rule = SCHEMA["$defs"]["rule"]["properties"]
    assert tuple(rule["protocol"]["enum"]) == keys.CHOICES["protocol"]
    assert tuple(SCHEMA["$defs"]["preset"]["enum"]) == NAMES
    assert tuple(SCHEMA["$defs"]["installManager"]["enum"]) == MANAGERS["registry"]
    assert tuple(SCHEMA["$defs"]["publishManager"]["enum"]) == MANAGERS["publish"]


def test_every_key_has_a_description() -> None:
    for name, rule in SCHEMA["properties"].items():
        assert rule.get("description"), name


def test_the_reference_shows_policies_that_hold() -> None:
    text = (ROOT / "docs" / "policy.md").read_text("utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert len(examples) >= 5
    for example in examples:
        whole = example if "version:" in example else f"version: 1\n{example}"
        read("docs/policy.md", whole, presets=NAMES)
        VALIDATOR.validate(yaml.safe_load(whole))


def worked_examples() -> dict[str, str]:
    """Policies of the reference that have cases, by their heading."""
    sections = re.split(r"^##+ (.*)$", (ROOT / "docs" / "policy.md").read_text("utf-8"), flags=re.M)
    found: dict[str, str] = {}
    for heading, body in zip(sections[1::2], sections[2::2], strict=True):
        for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", body, re.S)):
            if re.search("^allow:", text, re.M) and "expect:" in text:
                found[f"{heading} {number}"] = text
    return found


@pytest.mark.parametrize("heading", worked_examples())
def test_what_the_reference_expects_holds(heading: str) -> None:
    text = worked_examples()[heading].replace("version: 1\n", "")
    shown = built(text, cases=True)
    assert shown.cases
    assert [str(failure) for failure in run(shown.policy, shown.cases)] == []
    assert shown.warnings == ()


def test_only_the_publish_step_may_upload() -> None:
    """The worked example, asked for everybody that a job has."""
    text = worked_examples()["Only the publish step may upload 0"].replace("version: 1\n", "")
    policy = built(text).policy
    upload = Flow(Transport.TCP, 443, names=("upload.index.test",))
    question = Flow(Transport.DNS, names=("upload.index.test",))
    publish = Who(("Publish", "publish"), "/usr/bin/python3")
    others = (
        Who(),
        Who(("Test",)),
        Who(("Publish it",)),
        Who(None, "", None),
        Who(runner=True),
        Who(process="/usr/bin/dockerd"),
        Who(container=("Publish",)),
    )
    for flow in (upload, question):
        assert decide(policy, replace(flow, who=publish)).applied is Action.ALLOW
        for who in others:
            assert decide(policy, replace(flow, who=who)).applied is Action.DENY
            tables = compile_tables(policy)
            assert tables.decide(replace(flow, who=who))[0] is Action.DENY
    assert policy.lockdown == {"sudo", "docker"}


def test_the_reference_names_every_word_of_the_language() -> None:
    text = (ROOT / "docs" / "policy.md").read_text("utf-8")
    for word in sorted(keys.ALL_KEYS | set(NAMES)):
        assert f"`{word}`" in text or f"{word}:" in text, word
