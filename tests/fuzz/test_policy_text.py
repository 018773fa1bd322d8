# SPDX-License-Identifier: MIT
"""Policy text from a pull request: read, or refused with place and cure."""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random

import yaml

from fuzz.mutate import bend, fuzz
from leakstop.errors import PolicyError
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy import source
from leakstop.policy.canonical import from_canonical, to_canonical
from leakstop.policy.destination import DestinationError, Entry, parse
from leakstop.policy.inline import read_home, read_inline
from leakstop.policy.merge import Given, build, gather
from leakstop.policy.presets import NAMES, Presets
from leakstop.policy.problem import PolicyErrors
from leakstop.policy.rules import Rule
from leakstop.policy.tables import compile_tables

ROOT = Path(__file__).resolve().parents[2]
PRESETS = {path.stem: path.read_text() for path in (ROOT / "policies").glob("*.yml")}
POLICIES = [
    *PRESETS.values(),
    *(path.read_text() for path in (ROOT / "tests/golden/policy_errors").rglob("*.yml")),
    """\
version: 1
mode: block
allow: |
  a.test  # one

  b.test:8443, *.c.test
    d.test
leak: warn
""",
    """\
version: 1
allow:
  - host: [a.test, '**.b.test']
    ports: [443, 8000-8010]
    why: x
  - {publish: pip, step: [Publish, "*up?oad*"], process: /usr/bin/python3, container: "*x*"}
deny: {host: c.test, quiet: true, process: curl}
lockdown: [sudo, docker]
secrets: {A: a.test, B: nowhere, C: {to: a.test, step: Publish}}
expect:
  - {leak: A, to: b.test, step: Build}
  - deny: c.test
""",
]
DESTINATIONS = [
    "a.test", "api.example.test:443", "*.a.test", "**.a.co.uk", "shard{0..19}.a.test:8000-8010",
    "192.0.2.0/24", "[2001:db8::1]:443", "2001:db8::/32", "::ffff:192.0.2.1", "1.2.3.4:*",
    "tcp://a.test:22", "https://é.test", "udp://192.0.2.53:53", "dns://_srv._tcp.a.test",
    "icmp://192.0.2.1", "registry:pip", "github", "fe80::1%eth0", "a_b.test.", "host:443",
]  # fmt: skip
YAML = [
    *"\n:|>*'\"[]{}#,\t\0\x85\u2028\ufeffé\U0001f642", "\n  ", "- ", ": ", "|2-\n", "&a ", "!x ",
    "<<: ", "? ", "---\n", "...\n", "%YAML 1.1\n", "\r\n", "version: 1\n", "allow: ", "secrets: ",
    "expect: ", "extends: ", "${{ x }}", *DESTINATIONS,
]  # fmt: skip
INDEXES: dict[str, tuple[str, ...]] = {
    **{f"registry:{name}": ("https://i.test:443",) for name in ("pip", "npm", "apt")},
    **{f"publish:{name}": () for name in ("pip", "npm")},
}
PLAIN = [*"*.:/{}[]%@-0Ä ", "::", "..", "://", "65536"]


def test_policies() -> None:
    presets = Presets(PRESETS)

    def load(name: str) -> str:
        raise FileNotFoundError(2, "not there", name)

    def take(random: Random) -> None:
        text = bend(random, POLICIES, YAML)
        try:
            gathered = gather([Given("p.yml", text)], loader=load, presets=presets)
            policy = build(gathered, INDEXES, cases=True).policy
        except PolicyErrors as error:
            lines = len(text.splitlines()) + 1
            for problem in error.problems:
                assert 1 <= problem.line <= lines and problem.column >= 1
            assert str(error).isprintable() or "\n" in str(error)
        except PolicyError as error:
            assert error.what
        else:
            assert from_canonical(to_canonical(policy)) == policy
            with contextlib.suppress(PolicyError):
                compile_tables(policy)

    fuzz("policies", 400, take)


def test_destinations() -> None:
    def take(random: Random) -> None:
        text = bend(random, DESTINATIONS, PLAIN)
        _same_in_capitals(text)
        with contextlib.suppress(PolicyErrors):
            read_inline("input", text, presets=NAMES)
        with contextlib.suppress(PolicyErrors):
            read_home("input", "NAME", (text,), presets=NAMES)

    fuzz("destinations", 6_000, take)


def _same_in_capitals(text: str) -> None:
    """Long lists take a short way through the parser; capitals do not, and mean the same."""
    if text.isascii() and "://" not in text and ("." in text or text.count(":") > 1):
        assert _places(text) == _places(text.upper())


def _places(text: str) -> list[tuple[object, ...]] | None:
    try:
        entries: tuple[Entry, ...] = parse(text, Action.DENY, RuleRef("", ""), words=False)
    except DestinationError:
        return None
    rules = [entry for entry in entries if isinstance(entry, Rule)]
    return [(rule.place, rule.protocol, rule.ports) for rule in rules]


def test_blocks_are_scanned_as_pyyaml_does() -> None:
    blocks = [
        "a: |\n  one\n  two\n\n   three\n  four\nb: 1\n",
        "a: |+\n  one\r\n  two\r  three\n\n\n",
        "- |2-\n    one\n  two\n   \n- >\n  x\n  y\n\n   z\n  u\n",
        "a: |\n\n    \n  one\n  two\n #c\n",
    ]
    words = [*"\n \x85\u2028\ufeff\t#|>\0", "\n  ", "  ", "\r\n", "|-\n", "x: "]

    def take(random: Random) -> None:
        text = bend(random, blocks, words)
        assert _events(text, source._Loader) == _events(text, yaml.SafeLoader)

    fuzz("blocks", 2_000, take)


def _events(text: str, loader: type[yaml.SafeLoader]) -> list[object]:
    found: list[object] = []
    try:
        for event in yaml.parse(text, Loader=loader):
            marks = (event.start_mark, event.end_mark)
            found.append((repr(event), *((mark.index, mark.line, mark.column) for mark in marks)))
    except yaml.YAMLError as error:
        found.append(str(error))
    return found
