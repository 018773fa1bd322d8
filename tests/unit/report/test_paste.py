# SPDX-License-Identifier: MIT
"""What a summary offers to paste means what it says: it is read back by the real readers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from leakstop.model.flow import Flow, Transport, Who
from leakstop.model.report import FlowRecord, Job, Report, SecretView
from leakstop.model.verdict import Action, Mode
from leakstop.policy.match import decide
from leakstop.policy.merge import Given, Overrides, build, gather
from leakstop.policy.presets import Presets
from leakstop.policy.rules import Policy
from leakstop.report import summary
from leakstop.report.context import Context
from leakstop.secrets.inventory import parse_input
from unit.report import cases, hostile

PRESETS = {
    "runner": "version: 1\nallow: '**.runner.test'\n",
    "github": "version: 1\nallow: [git.forge.test, '**.forge.test']\n",
    "python": "version: 1\nallow: registry:pip\n",
    "debian": "version: 1\nallow: registry:apt\n",
}


def blocks(report: Report) -> list[str]:
    """The YAML blocks of a summary."""
    text = summary.render(report, vocabulary=cases.VOCABULARY)
    return re.findall(r"^```yaml\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)


def policy_of(*files: str, allow: str = "") -> Policy:
    """Read a pasted policy in block mode."""
    flags = Overrides(mode=Mode.BLOCK, allow=(Given("input `allow`", allow),) if allow else ())

    def load(path: str) -> str:
        raise FileNotFoundError(path)

    gathered = gather(
        [Given("leakstop.yml", text) for text in files],
        loader=load,
        presets=Presets(PRESETS),
        overrides=flags,
    )
    return build(gathered, cases.VOCABULARY.indexes).policy


def judge(policy: Policy, record: FlowRecord) -> Action:
    names = (record.host,) if record.host else ()
    dns = record.protocol is Transport.DNS
    who = Who((record.step,) if record.step else (), record.process.exe)
    flow = Flow(record.protocol, record.port, "" if dns else record.ip, names, who=who)
    return decide(policy, flow).applied


def assert_covers(policy: Policy, report: Report) -> None:
    """The policy allows what it was proposed for, and nothing else of the run."""
    context = Context.of(report, cases.VOCABULARY)
    proposed = {flow for line in context.proposal.lines for flow in line.flows}
    assert proposed
    for flow in context.facts.unnamed:
        expected = Action.ALLOW if flow in proposed else Action.DENY
        assert judge(policy, flow) is expected, flow.destination


@pytest.mark.parametrize("report", [cases.UNNAMED, cases.COMMAND], ids=["workflow", "command"])
def test_a_pasted_policy_lets_the_same_run_pass(report: Report) -> None:
    report = replace(report, job=Job())
    (block,) = blocks(report)
    policy = policy_of(block)
    assert_covers(policy, report)


def test_a_pasted_step_lets_the_same_run_pass() -> None:
    (block,) = blocks(cases.UNNAMED)
    (step,) = yaml.safe_load(block)
    assert step["uses"] == "acme/leakstop@v1.2.0"
    assert step["with"]["mode"] == "audit"
    assert_covers(policy_of(allow=step["with"]["allow"]), cases.UNNAMED)


def test_pasted_secrets_are_placed() -> None:
    (block,) = blocks(cases.UNNAMED)
    (step,) = yaml.safe_load(block)
    text = step["with"]["secrets"].replace("${{ secrets.DEPLOY_TOKEN }}", "0123456789abcdef")
    (secret,) = parse_input(text)
    assert (secret.name, secret.home) == ("DEPLOY_TOKEN", ("deploy.example.test",))


def test_a_home_with_a_wildcard_is_quoted() -> None:
    secret = SecretView("T", ("*.example.test",), "", "", "input")
    (block,) = blocks(replace(cases.COMMAND, secrets=(secret,)))
    assert policy_of(block).homes["T"].text == ("*.example.test",)


def test_pasted_lines_fit_into_a_file() -> None:
    allow, secrets = blocks(cases.MORE)
    policy = policy_of(f"version: 1\nallow:\n{allow}\nsecrets:\n{secrets}\n")
    assert_covers(policy, cases.MORE)
    assert policy.homes["DEPLOY_TOKEN"].text == ("deploy.example.test",)


def test_a_place_where_one_step_stores_something_is_for_that_step() -> None:
    allow, _ = blocks(cases.MORE)
    policy = policy_of(f"version: 1\nallow:\n{allow}\n")
    (sink,) = (flow for flow in cases.MORE.flows if flow.host == "acmebuild7.store.test")
    assert judge(policy, sink) is Action.ALLOW
    assert judge(policy, replace(sink, step="Test")) is Action.DENY


def test_pasted_lines_fit_into_an_input() -> None:
    allow, secrets = blocks(cases.MORE_INPUT)
    assert_covers(policy_of(allow=allow), cases.MORE_INPUT)
    assert secrets == "DEPLOY_TOKEN@deploy.example.test=${{ secrets.DEPLOY_TOKEN }}"


def test_the_line_for_a_denied_host_opens_it() -> None:
    (block,) = blocks(cases.DENIED)
    policy = policy_of(f"version: 1\nallow:\n{block}\n")
    assert judge(policy, cases.DENIED.flows[-1]) is Action.ALLOW


@pytest.mark.parametrize("payload", hostile.PAYLOADS)
def test_hostile_steps_and_programs_change_no_pasted_line(payload: str) -> None:
    wild = hostile.infect(cases.UNNAMED, payload)
    # The names are as they were: what is hostile here is the evidence behind them.
    pairs = zip(wild.flows, cases.UNNAMED.flows, strict=True)
    flows = tuple(replace(flow, host=real.host) for flow, real in pairs)
    report = replace(wild, flows=flows)
    (block,) = blocks(report)
    assert block.count("${{") == 1
    (step,) = yaml.safe_load(block)
    assert step["with"].keys() == {"mode", "allow", "secrets"}
    assert_covers(policy_of(allow=step["with"]["allow"]), report)
