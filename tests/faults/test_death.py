# SPDX-License-Identifier: MIT
"""Somebody is killed (-9): the agent, the client, or both, before the guard and during it.

What is denied stays denied as long as a process of the command lives, and nothing stays longer.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.scene import POLICY, Running, Story, attached, leakstop, wait_until
from lab import Lab
from lab.network import BARE

pytestmark = pytest.mark.root

COVERAGE_LOST, FINDINGS = 12, 10


@pytest.fixture
def blocked(lab: Lab, tmp_path: Path) -> Iterator[Story]:
    yield Story(lab, tmp_path, POLICY.format(mode="block"))
    assert lab.other.bytes_received == 0
    assert lab.collector.bytes_received == 0


# -- the agent ------------------------------------------------------------------------------


def test_block_stays_block_when_agent_and_supervisor_are_killed_and_the_run_is_12(
    blocked: Story,
) -> None:
    blocked.run.kill_all()
    blocked.go_on()
    assert attached(blocked.lab, blocked.links) == list(blocked.links)
    blocked.end()
    done = blocked.run.end()
    assert done.code == COVERAGE_LOST
    assert done.stdout == "ok\n", "what is allowed goes on, too"
    assert "Could not resolve host: other.test" in done.stderr
    assert "the agent ended while the command runs. What is denied stays denied" in done.stderr
    assert "coverage is lost" in done.stderr
    assert done.report["verdict"] == "fail"
    assert done.report["coverage"]["agent_died"] is True
    (finding,) = done.findings("coverage-lost")
    assert finding["what_to_do"]
    denied = [flow["ip"] for flow in done.report["flows"] if flow["applied"] == "deny"]
    assert denied == [BARE], "what was seen before it died is reported"
    blocked.assert_taken_down()


def test_a_deny_rule_of_audit_stays_in_force_when_the_agent_is_killed(
    lab: Lab, tmp_path: Path
) -> None:
    story = Story(lab, tmp_path, POLICY.format(mode="audit"))
    story.run.kill_all()
    story.go_on()
    story.end()
    done = story.run.end()
    assert done.code == COVERAGE_LOST
    assert done.stdout == "ok\nok\nok\n", "audit lets pass what nobody named, before and after"
    assert lab.other.bytes_received == 0
    assert "coverage is lost" in done.stderr
    story.assert_taken_down()


# -- the client -----------------------------------------------------------------------------


def test_a_killed_client_takes_command_and_guard_with_it(blocked: Story) -> None:
    """Nobody could report what the command does from here on, so it ends first."""
    blocked.run.client.kill()
    blocked.run.client.communicate()
    wait_until(lambda: not blocked.command.exists(), "the command ends")
    blocked.assert_taken_down()


# -- both -----------------------------------------------------------------------------------


def test_the_guard_of_nobody_denies_until_the_command_ends_and_the_next_run_removes_it(
    blocked: Story,
) -> None:
    """As when a runner cancels a job: nothing of ours is left to clean up."""
    lab, run_dir, group = blocked.lab, blocked.run.run_dir, blocked.run.cgroup
    supervisor, agent = blocked.run.supervisor, blocked.run.agent
    for signal_number in (signal.SIGSTOP, signal.SIGKILL):  # not a moment to take anything down
        os.kill(supervisor, signal_number)
        os.kill(agent, signal_number)
    blocked.run.client.kill()
    blocked.run.client.wait()

    assert leakstop(lab, "run", "--", "true").returncode == 0
    assert run_dir.exists(), "while the command lives, its guard is not swept away"
    blocked.go_on()
    assert attached(lab, blocked.links) == list(blocked.links)

    blocked.end()
    wait_until(lambda: not (group / "cgroup.procs").read_text(), "the command ends")
    assert leakstop(lab, "run", "--", "true").returncode == 0
    assert not run_dir.exists() and not group.exists()
    blocked.assert_taken_down()


# -- before the guard is in force -----------------------------------------------------------


class HeldUp:
    """A run whose policy does not come: it is a pipe into which nobody writes."""

    def __init__(self, lab: Lab, reports: Path) -> None:
        self._pipe = lab.directory / "ci.yml"
        os.mkfifo(self._pipe)
        self.run = Running(lab, "touch $LAB/ran", policy=self._pipe, reports=reports)
        wait_until(self._open, "somebody reads the policy")
        self.agent, self.supervisor = self.run.agent, self.run.supervisor

    def _open(self) -> bool:
        try:
            self._writing = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO, error  # nobody reads yet
            return False
        return True

    def let_go(self) -> None:
        """Let the policy come."""
        os.write(self._writing, POLICY.format(mode="block").encode())
        os.close(self._writing)


@pytest.fixture
def held_up(lab: Lab, tmp_path: Path) -> Iterator[HeldUp]:
    yield HeldUp(lab, tmp_path)
    assert not (lab.directory / "ran").exists(), "nothing ever runs without its guard"


def test_an_agent_that_is_killed_before_the_guard_is_12_and_nothing_runs(held_up: HeldUp) -> None:
    os.kill(held_up.agent, signal.SIGKILL)
    held_up.let_go()
    done = held_up.run.end()
    assert done.code == COVERAGE_LOST
    assert "error: the agent " in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.has_report


def test_a_client_that_is_killed_before_the_guard_leaves_no_agent(held_up: HeldUp) -> None:
    held_up.run.client.kill()
    held_up.run.client.wait()
    held_up.let_go()
    wait_until(lambda: not Path(f"/proc/{held_up.agent}").exists(), "the agent ends")
