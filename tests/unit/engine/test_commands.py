# SPDX-License-Identifier: MIT
"""When the engine asks for a kill, and what it says of it."""

from __future__ import annotations

import pytest

from leakstop.engine.commands import Kill
from leakstop.engine.core import Engine
from leakstop.model.verdict import Action, Carriage, Reason, Verdict
from leakstop.policy.rules import Policy
from story import (
    LEAKING,
    MS,
    PASSED,
    Finds,
    Kills,
    allow,
    asks,
    carrying,
    connects,
    execs,
    fork,
    guarded,
    started,
    story,
)

HITS = carrying("NPM_TOKEN", "DEPLOY_TOKEN", "NPM_TOKEN")


def test_a_kill_names_the_process_and_the_reason() -> None:
    told = guarded(allow("registry.test")).sees(
        fork(20, 1, start_ns=77 * MS),
        execs(20, "curl", start_ns=77 * MS),
        connects(20, "203.0.113.9", 80, LEAKING, hits=HITS),
    )
    why = "on the way to 203.0.113.9:80 with NPM_TOKEN, DEPLOY_TOKEN"
    assert told.commands == [Kill(20, 77 * MS, why)]


def test_what_the_kernel_has_killed_is_left_alone() -> None:
    for attempt in (
        connects(20, "203.0.113.9", 80, LEAKING, hits=HITS, killed=True),
        asks(20, "collector.test", LEAKING, hits=HITS, killed=True),
    ):
        guarded().sees(attempt).expects(
            Kills(), Finds("secret-in-argv", secret="NPM_TOKEN", bytes_left=0)
        )


def test_each_try_of_a_process_that_should_be_dead_asks_again() -> None:
    guarded().sees(
        asks(20, "collector.test", LEAKING, hits=HITS),
        asks(20, "collector.test", LEAKING, hits=HITS, qtype="AAAA"),
    ).expects(Kills(20, 20))


@pytest.mark.parametrize("carriage", [Carriage.NONE, Carriage.NOTE, Carriage.WARN, Carriage.FAIL])
def test_nothing_else_is_killed(carriage: Carriage) -> None:
    guarded().sees(connects(20, "203.0.113.9", 443, PASSED, hits=HITS, carriage=carriage)).expects(
        Kills()
    )


@pytest.mark.parametrize("pid", [0, 1])
def test_nobody_is_killed_for_a_process_that_is_not_known(pid: int) -> None:
    # kill(0) would end the agent's own group, and 1 is the machine.
    guarded().sees(connects(pid, "203.0.113.9", 80, LEAKING, hits=HITS)).expects(
        Kills(), Finds("secret-in-argv", secret="NPM_TOKEN")
    )


def test_the_portable_sensor_only_watches() -> None:
    let_go = Verdict(Action.DENY, Action.ALLOW, Reason.NOT_NAMED)
    told = story(Engine(Policy(), ())).sees(
        started(sensor="portable", policy_digest=""),
        connects(20, "203.0.113.9", 80, let_go, hits=HITS, carriage=Carriage.KILL),
    )
    told.expects(
        Kills(),
        Finds(
            "secret-in-argv",
            secret="NPM_TOKEN",
            bytes_left=None,
            action_taken="Not stopped: this sensor can only watch. NPM_TOKEN may have left.",
        ),
    )
