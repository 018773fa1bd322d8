# SPDX-License-Identifier: MIT
"""Words to rules, with where they came from."""

from __future__ import annotations

import pytest

from leakstop.errors import PolicyError
from leakstop.model.verdict import Action, RuleRef
from leakstop.policy.destination import Reference
from leakstop.policy.lookup import Lookup, meet
from leakstop.policy.presets import BUILT_IN, Presets
from leakstop.policy.rules import Rule
from unit.policy.rulebook import place
from unit.policy.written import INDEXES, PRESETS, built


def written(rules: tuple[Rule, ...]) -> list[tuple[str, str, str, int]]:
    """Place, text, word and line of what the runner did not bring."""
    return [
        (str(rule.place), rule.ref.text, rule.ref.via, rule.ref.line)
        for rule in rules
        if rule.ref.source != BUILT_IN
    ]


def test_a_preset_is_its_hosts_at_the_line_that_names_it() -> None:
    assert written(built("allow: github").policy.rules) == [
        ("git.test", "git.test", "github", 2),
        ("api.git.test", "api.git.test", "github", 2),
    ]


def test_a_registry_is_what_the_manager_answered() -> None:
    rules = built("allow: registry:pip").policy.rules
    assert written(rules) == [
        ("index.test", "https://index.test:443", "registry:pip", 2),
        ("mirror", "http://mirror:8080", "registry:pip", 2),
    ]
    assert [str(rule.ports[0]) for rule in rules[:2]] == ["443", "8080"]


def test_a_registry_inside_a_preset_keeps_the_authors_word() -> None:
    assert {via for _, _, via, _ in written(built("allow: python").policy.rules)} == {"python"}


def test_what_was_said_of_a_word_is_said_of_its_hosts() -> None:
    policy = built("deny: {preset: metadata, quiet: true, why: nobody becomes the machine}").policy
    (rule,) = (rule for rule in policy.rules if rule.action is Action.DENY)
    assert (rule.quiet, rule.why) == (True, "nobody becomes the machine")


def test_a_deny_of_a_word_denies_what_an_allow_of_it_allows() -> None:
    policy = built("deny: github").policy
    denied = [str(rule.place) for rule in policy.rules if rule.action is Action.DENY]
    assert denied == ["git.test", "api.git.test"]


def test_a_manager_without_hosts_is_warned_about() -> None:
    result = built("allow: registry:apt")
    assert "`registry:apt` names no host on this machine" in result.warnings[0]
    assert written(result.policy.rules) == []


def test_an_answer_that_is_missing_is_an_error_and_not_an_empty_list() -> None:
    lookup = Lookup(Presets(PRESETS), indexes={})
    word = Reference("registry", "pip", Action.ALLOW, RuleRef("registry:pip", "policy.yml", 3))
    with pytest.raises(PolicyError, match="nobody asked what `registry:pip` means") as error:
        lookup.rules([word])
    assert error.value.where == "policy.yml:3"


def test_an_answer_that_is_no_destination_is_explained() -> None:
    with pytest.raises(PolicyError) as error:
        built("allow: registry:npm", indexes={"registry:npm": ("https://bad..test:443",)})
    assert "npm is configured for `https://bad..test:443`" in error.value.what
    assert error.value.where == "policy-1.yml:2"


def test_sinks_are_closed_on_every_port_but_where_the_runner_lives() -> None:
    result = built("deny: public-sinks")
    denied = {str(rule.place) for rule in result.policy.rules if rule.action is Action.DENY}
    assert denied == {"**.paste.test", "drop.test"}
    assert any(
        "`**.store.test` stays out of `deny: public-sinks`" in text for text in result.warnings
    )
    assert {str(rule.place) for rule in result.policy.sinks} == {
        "**.store.test",
        "**.paste.test",
        "drop.test",
    }


def test_a_deny_by_hand_is_obeyed_even_against_the_runner() -> None:
    result = built('deny: "**.store.test"')
    assert any(str(rule.place) == "**.store.test" for rule in result.policy.rules)
    assert any("which the runner itself needs" in text for text in result.warnings)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("a.test", "a.test", True),
        ("a.test", "b.test", False),
        ("*.a.test", "x.a.test", True),
        ("*.a.test", "a.test", False),
        ("**.a.test", "*.b.a.test", True),
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "198.51.100.0/24", False),
        ("192.0.2.0/24", "2001:db8::/32", False),
        ("a.test", "192.0.2.7", False),
    ],
)
def test_places_meet(one: str, other: str, common: bool) -> None:
    assert meet(place(one), place(other)) is common
    assert meet(place(other), place(one)) is common


def test_every_index_of_the_tests_reads() -> None:
    words = [word for word in INDEXES if word != "registry:apt"]
    rules = built("allow: [" + ", ".join(words) + "]").policy.rules
    assert {via for _, _, via, _ in written(rules)} == set(words)
