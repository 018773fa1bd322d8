# SPDX-License-Identifier: MIT
"""The words of a machine, on their way to whoever renders the report."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leakstop.errors import PolicyError
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.rules import NamePlace, Policy, PortRange, Protocol, Rule
from leakstop.report.vocabulary import INDEX_WORDS, Vocabulary, from_text, to_text, unresolved
from unit.report import cases


@pytest.mark.parametrize("vocabulary", [Vocabulary(), cases.VOCABULARY])
def test_nothing_is_lost_on_the_way(vocabulary: Vocabulary) -> None:
    assert from_text(to_text(vocabulary)) == vocabulary


@pytest.mark.parametrize(
    "change",
    [
        {"presets": None},
        {"presets": {"python\n  - collector.test": []}},
        {"presets": {"*": []}},
        {"presets": {"github": {}}},
        {"presets": {"github": ["git.forge.test"]}},
        {"presets": {"github": [{"names": []}]}},
        {"indexes": None},
        {"indexes": {"collector.test": ["https://collector.test:443"]}},
        {"indexes": {"registry:pip": "https://index.test:443"}},
        {"indexes": {"registry:pip": [1]}},
    ],
)
def test_what_is_not_understood_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(to_text(cases.VOCABULARY))
    with pytest.raises(PolicyError):
        from_text(json.dumps(document | change))


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "1", "null", "[" * 100_000])
def test_what_is_no_vocabulary_at_all_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match="vocabulary"):
        from_text(text)


def named(via: str) -> Policy:
    ref = RuleRef("https://index.test:443", "leakstop.yml", 3, via)
    rule = Rule(Action.ALLOW, NamePlace("index.test"), Protocol.TLS, (PortRange(443, 443),), ref)
    return Policy(rules=(rule,))


@pytest.mark.parametrize("via", ["python", "registry:pip"])
def test_an_index_that_the_policy_names_needs_no_word(via: str) -> None:
    assert unresolved(named(via)) == ("registry:npm", "registry:apt")


@pytest.mark.parametrize("policy", [Policy(), named(""), named("github"), named("publish:pip")])
def test_the_others_do(policy: Policy) -> None:
    assert unresolved(policy) == INDEX_WORDS
