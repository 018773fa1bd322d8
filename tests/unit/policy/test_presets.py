# SPDX-License-Identifier: MIT
"""The presets that ship: each one reads, runs as a policy of its own, and keeps its promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leakstop.model.flow import Flow, Transport, Who
from leakstop.model.verdict import Action, Mode
from leakstop.policy import expect
from leakstop.policy.budgets import budgets
from leakstop.policy.match import decide, is_sink
from leakstop.policy.merge import Built, Given, build, gather, needed_managers
from leakstop.policy.presets import BUILT_IN, NAMES, Presets
from unit.policy.written import INDEXES

POLICIES = Path(__file__).parents[3] / "policies"
TEXTS = {name: (POLICIES / f"{name}.yml").read_text("utf-8") for name in NAMES}
ANSWERS = {**INDEXES, "registry:apt": ("http://archive.test:80",)}


def run_alone(name: str) -> Built:
    """The preset's file as a complete policy."""
    gathered = gather(
        [Given(f"policies/{name}.yml", TEXTS[name])],
        loader=lambda path: pytest.fail(f"{path} was loaded"),
        presets=Presets(TEXTS),
    )
    asked = needed_managers(gathered, cases=True)
    return build(gathered, {word: ANSWERS[word] for word in asked}, cases=True)


def test_the_folder_holds_the_presets_and_nothing_else() -> None:
    assert {path.name for path in POLICIES.iterdir()} == {f"{name}.yml" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_keeps_its_own_expectations(name: str) -> None:
    built = run_alone(name)
    assert built.cases
    assert [str(failure) for failure in expect.run(built.policy, built.cases)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_expects_a_denial(name: str) -> None:
    assert any(case.kind == "deny" for case in run_alone(name).cases)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_needs_no_second_look(name: str) -> None:
    assert run_alone(name).warnings == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_who_needs_it_and_what_it_leaves_out(name: str) -> None:
    header = re.match(r"(?:#.*\n)+", TEXTS[name])
    assert header is not None
    assert f"# {name}: " in header[0]
    assert re.search(r"Does not (allow|name)", header[0])
    assert "yaml-language-server: $schema=../schemas/policy-v1.schema.json" in header[0]


def test_a_package_index_is_a_word_and_never_a_host() -> None:
    for name in ("python", "node", "debian"):
        lists = [entry.ref.text for entry in Presets(TEXTS).entries(name, Action.ALLOW)]
        assert len(lists) == 1
        assert lists[0].startswith("registry:")


def results(who: Who) -> Flow:
    """Storage of results, wanted by ``who``."""
    host = "productionresultssa3.blob.core.windows.net"
    return Flow(Transport.TCP, 443, names=(host,), who=who)


def test_the_runner_is_always_there_and_is_printed_as_built_in() -> None:
    verdict = decide(run_alone("python").policy, results(Who(runner=True)))
    assert verdict.policy is Action.ALLOW
    assert verdict.rule is not None
    assert (verdict.rule.source, verdict.rule.via, verdict.rule.line) == (BUILT_IN, "runner", 0)


@pytest.mark.parametrize(
    "who", [Who(), Who(("Build",)), Who(None, "", None), Who(container=("alpine",))]
)
def test_what_the_runner_needs_is_open_to_the_runner_alone(who: Who) -> None:
    policy = run_alone("python").policy
    assert decide(policy, results(who)).policy is Action.DENY
    service = Flow(Transport.DNS, names=("pipelines.actions.githubusercontent.com",), who=who)
    assert decide(policy, service).policy is Action.DENY


def test_steps_keep_artifacts_and_caches_with_the_server() -> None:
    policy = run_alone("github").policy
    step = Who(("Save cache", "actions/cache"))
    assert decide(policy, results(step)).policy is Action.ALLOW
    service = Flow(
        Transport.TCP, 443, names=("results-receiver.actions.githubusercontent.com",), who=step
    )
    assert decide(policy, service).policy is Action.ALLOW


@pytest.mark.parametrize("name", ["runner", "github"])
def test_a_job_meets_few_accounts_of_results(name: str) -> None:
    accounts = [
        budget for budget in budgets(run_alone(name).policy.rules) if len(budget.places) > 1
    ]
    assert {(len(budget.places), budget.names) for budget in accounts} == {(20, 4)}


def test_sinks_are_data_and_not_denials() -> None:
    policy = run_alone("python").policy
    flow = Flow(Transport.TCP, 8443, names=("someone.blob.core.windows.net",))
    assert is_sink(policy, flow)
    assert all(rule.action is Action.ALLOW for rule in policy.rules)
    assert policy.mode is Mode.AUDIT


def test_names_that_everybody_uses_are_no_sinks() -> None:
    policy = run_alone("github").policy
    for name in ("github.com", "api.github.com", "sts.eu-west-1.amazonaws.com", "example.test"):
        assert not is_sink(policy, Flow(Transport.TCP, 443, names=(name,)))


@pytest.mark.parametrize("name", ["metadata", "public-sinks"])
def test_what_a_preset_names_can_be_denied(name: str) -> None:
    gathered = gather(
        [Given("policy.yml", f"version: 1\nallow: github\ndeny: {name}\n")],
        loader=lambda path: pytest.fail(f"{path} was loaded"),
        presets=Presets(TEXTS),
    )
    policy = build(gathered, {}).policy
    denied = Flow(Transport.TCP, 80, ip="169.254.169.254")
    if name == "public-sinks":
        denied = Flow(Transport.TCP, 80, names=("a.b.trycloudflare.com",))
    assert decide(policy, denied).applied is Action.DENY
    # The runner's results and the server stay reachable.
    for host in ("productionresultssa0.blob.core.windows.net", "api.github.com"):
        assert decide(policy, Flow(Transport.TCP, 443, names=(host,))).policy is Action.ALLOW


def test_a_preset_is_read_once_for_each_use() -> None:
    presets = Presets(TEXTS)
    assert presets.document("github") is presets.document("github")
    assert presets.document("github", Action.DENY) is not presets.document("github")
    assert presets.names == frozenset(NAMES)
