# SPDX-License-Identifier: MIT
"""Package managers are asked in time, beside everything else, or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

import pytest

from leakstop.cli import vocabulary
from leakstop.cli.vocabulary import Asking
from leakstop.model.verdict import Mode
from leakstop.policy.rules import Policy
from leakstop.report.vocabulary import Vocabulary
from leakstop.sensor import indexes
from story import NAMED, PASSED, REFUSED, connects, execs, guarded

ANSWERS = {
    "registry:pip": ("https://index.test:443", "https://files.test:443"),
    "registry:npm": (),
    "registry:apt": ("http://deb.test:80",),
}


@pytest.fixture(autouse=True)
def managers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Package managers that know hosts of ours; the child inherits them."""

    def resolve(words: frozenset[str]) -> Mapping[str, tuple[str, ...]]:
        return {word: ANSWERS[word] for word in words}

    monkeypatch.setattr(indexes, "resolve", resolve)


@pytest.fixture
def asking() -> Iterator[Asking]:
    made = Asking.about(Policy())
    yield made
    made.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_answer_is_what_the_managers_said_and_the_presets(asking: Asking) -> None:
    asking.release()
    answered = vocabulary.read(asking.answer())
    assert answered.indexes == ANSWERS
    assert set(answered.presets) == {"debian", "github", "node", "python"}
    assert {str(rule.place) for rule in answered.presets["python"]} == {"index.test", "files.test"}
    assert not answered.presets["node"]
    assert len(answered.presets["github"]) > 5
    assert asking.answer() == "", "whoever was asked is gone"


def test_nothing_is_asked_before_it_is_released(asking: Asking) -> None:
    time.sleep(0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "PATIENCE_S", 0.01)
        assert asking.answer() == ""


@pytest.mark.parametrize("policy", [None, Policy(mode=Mode.BLOCK)])
def test_who_blocks_has_a_policy_and_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, policy: Policy | None
) -> None:
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("nothing was to be asked"))
    asking = Asking.about(policy)
    asking.release()
    assert asking.answer() == ""
    asking.close()


def test_an_answer_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "resolve", lambda _: time.sleep(60))
    monkeypatch.setattr(vocabulary, "PATIENCE_S", 0.05)
    asking = Asking.about(Policy())
    asking.release()
    began = time.monotonic()
    assert asking.answer() == ""
    assert time.monotonic() - began < 5


def test_an_index_that_no_rule_can_name_stands_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ANSWERS, "registry:apt", ("nonsense://",))
    asking = Asking.about(Policy())
    asking.release()
    assert set(vocabulary.read(asking.answer()).presets) == {"github", "node", "python"}


def test_without_a_yaml_parser_only_the_presets_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vocabulary, "_LOOKUP", "leakstop.policy.not_there")
    asking = Asking.about(Policy())
    asking.release()
    assert vocabulary.read(asking.answer()) == Vocabulary(indexes=ANSWERS)


@pytest.mark.parametrize("text", ["", "{", '{"presets":{},"indexes":{"x":[]}}'])
def test_without_a_good_answer_hosts_are_shown_as_they_are(text: str) -> None:
    assert vocabulary.read(text) == Vocabulary()


def test_words_are_needed_for_what_no_rule_names() -> None:
    for verdict, expected in ((PASSED, True), (REFUSED, True), (NAMED, False)):
        story = guarded().sees(execs(20, "curl"), connects(20, "203.0.113.9", 443, verdict))
        assert vocabulary.is_needed(story.report) is expected
    assert not vocabulary.is_needed(guarded().report)
