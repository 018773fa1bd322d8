# SPDX-License-Identifier: MIT
"""Answers that open nothing: said once, with what would open them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.errors import ExitCode
from leakstop.model.finding import Severity
from leakstop.model.verdict import Mode
from story import Ends, Finds, FindsOnly, Story, answers, guarded


def told(*refused: str, name: str = "git.corp.test", mode: Mode = Mode.BLOCK) -> Story:
    """A job in which a name pointed to these addresses."""
    job = guarded(mode=mode, sources=("ci.yml",))
    return job.sees(replace(answers(name, "198.51.100.7"), refused=refused))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("address", ["10.9.8.7", "192.168.0.1", "100.64.0.1", "fd12::1"])
def test_a_private_address_needs_the_exact_name(mode: Mode, address: str) -> None:
    story = told(address, mode=mode).expects(
        FindsOnly("refused-answer"),
        Finds("refused-answer", destination="git.corp.test", severity=Severity.INFO),
        Ends(ExitCode.CLEAN),
    )
    (finding,) = story.report.findings
    assert f"pointed to {address}, and opened nothing" in finding.action_taken
    assert "add under `allow:` in ci.yml: `- git.corp.test`" in finding.what_to_do


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "64:ff9b::a9fe:a9fe"],
)
def test_no_name_opens_the_metadata_service(address: str) -> None:
    story = told("10.0.0.1", address).expects(Finds("refused-answer", severity=Severity.MEDIUM))
    assert "`- " not in story.report.findings[0].what_to_do


@pytest.mark.parametrize("addresses", [(), ("0.0.0.0",), ("::",)])
def test_what_hides_a_name_is_no_way_inside(addresses: tuple[str, ...]) -> None:
    told(*addresses).expects(FindsOnly())


def test_a_name_is_said_once_for_what_it_points_to() -> None:
    first = replace(answers("a.test"), refused=("10.0.0.1", "10.0.0.2"))
    turned = replace(first, refused=("10.0.0.2", "10.0.0.1"))
    moved = replace(first, refused=("169.254.169.254",))
    guarded().sees(first, turned, moved).expects(
        FindsOnly("refused-answer", "refused-answer"),
        Finds("refused-answer", severity=Severity.INFO, count=2),
        Finds("refused-answer", severity=Severity.MEDIUM, count=1),
    )


def test_a_name_that_cannot_be_pasted_has_no_line() -> None:
    story = told("10.0.0.1", name="a`b.test")
    assert "allow the address itself" in story.report.findings[0].what_to_do
