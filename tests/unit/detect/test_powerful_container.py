# SPDX-License-Identifier: MIT
"""Containers that reach the machine."""

from __future__ import annotations

import pytest

from leakstop.model.container import ContainerAsked, ContainerSeen
from leakstop.model.finding import Severity
from story import Finds, FindsOnly, Story, execs, fork, guarded

CLIENT = 20


def told(*powers: str, image: str = "alpine:3", asker: int = CLIENT) -> Story:
    """A job whose step asks for a container with these powers."""
    asks = ContainerAsked(0, asker, image, powers)
    return guarded().sees(fork(CLIENT, 10), execs(CLIENT, "docker"), asks)


@pytest.mark.parametrize(
    "powers",
    [
        ("the host's /",),
        ("privileged", "the host's processes"),
        ("the host's network", "the host's /etc"),
    ],
)
def test_what_owns_the_machine_is_high(powers: tuple[str, ...]) -> None:
    told(*powers).expects(Finds("powerful-container", severity=Severity.HIGH))


@pytest.mark.parametrize("power", ["privileged", "the host's network", "CAP_SYS_ADMIN"])
def test_what_may_get_out_is_medium(power: str) -> None:
    story = told(power).expects(Finds("powerful-container", severity=Severity.MEDIUM))
    (finding,) = story.report.findings
    assert finding.process.command == "docker"
    assert f"from alpine:3 with {power}." in finding.action_taken


@pytest.mark.parametrize(
    ("image", "power"),
    [
        ("moby/buildkit:buildx-stable-1", "privileged"),
        ("an/action", "the host's /var/run/docker.sock"),
    ],
)
def test_what_every_job_has_is_info(image: str, power: str) -> None:
    told(power, image=image).expects(Finds("powerful-container", severity=Severity.INFO))


def test_a_builder_with_more_than_its_own_is_none() -> None:
    told("privileged", "the host's /", image="moby/buildkit").expects(
        Finds("powerful-container", severity=Severity.HIGH)
    )


def test_the_same_again_is_counted() -> None:
    asks = ContainerAsked(0, 0, "alpine:3", ("privileged",))
    guarded().sees(asks, asks).expects(Finds("powerful-container", count=2))


def test_a_container_with_nothing_is_no_finding() -> None:
    guarded().sees(ContainerSeen(0, 30, "0" * 16, asker=CLIENT)).expects(FindsOnly())
