# SPDX-License-Identifier: MIT
"""What runs in the last step is found where the runner keeps it, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from leakstop.act.last_step import of_hook

ACTIONS = Path("/w/_actions")
ACTION = ACTIONS / "owner/leakstop/v1"
EXTERNALS = Path("/runner/externals")
NODE = EXTERNALS / "node24/bin/node"


def test_of_a_runner_both() -> None:
    assert of_hook(ACTION / "agent/hook", NODE) == (
        (ACTION, ACTIONS),
        (NODE, EXTERNALS),
    )


def test_an_action_inside_of_a_larger_repository() -> None:
    inner = ACTION / "tools/leakstop"
    assert of_hook(inner / "agent/hook", Path("/usr/bin/node")) == ((inner, ACTIONS),)


def test_a_checkout_and_the_systems_node_are_left_alone() -> None:
    assert of_hook(Path("/src/agent/hook"), Path("/usr/bin/node")) == ()
