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

from faults.scene import Running, attached, leakstop, wait_until
from lab import Lab
from lab.network import BARE

pytestmark = pytest.mark.root

COVERAGE_LOST = 12
POLICY = "version: 1\nmode: {mode}\nallow: home.test\ndeny: other.test\n"
SCRIPT = f"""
echo $$ > $LAB/new; mv $LAB/new $LAB/pid
curl -sS -m 5 http://{BARE}/
touch $LAB/ready
while [ ! -e $LAB/go ]; do sleep 0.01; done
curl -sS -m 5 https://home.test/
curl -sS -m 5 https://other.test/
curl -sS -m 5 http://{BARE}/
touch $LAB/done
while [ ! -e $LAB/end ]; do sleep 0.01; done
"""
"""Visits, waits for ``go``, visits again, waits for ``end``."""


class Story:
    """One guarded command that waits for the test between its visits."""

    def __init__(self, lab: Lab, reports: Path, mode: str = "block") -> None:
        self.lab = lab
        policy = lab.directory / "ci.yml"
        policy.write_text(POLICY.format(mode=mode))
        self.run = Running(lab, SCRIPT, policy=policy, reports=reports)
        wait_until((lab.directory / "ready").exists, "the command gets ready")
        # What a killed agent has not written yet is lost; this is not the test for that.
        wait_until(lambda: f'"{BARE}"' in self.run.journal(), "the journal tells of the visit")
        self.links = self.run.links()
        assert attached(lab, self.links) == list(self.links) != []
        self.command = Path("/proc", (lab.directory / "pid").read_text().strip())

    def go_on(self) -> None:
        """Let the command make its other visits."""
        (self.lab.directory / "go").touch()
        wait_until((self.lab.directory / "done").exists, "the command has done its visits")

    def end(self) -> None:
        """Let the command end."""
        (self.lab.directory / "end").touch()

    def assert_taken_down(self) -> None:
        """Nothing is attached any more."""
        wait_until(lambda: not attached(self.lab, self.links), "the kernel lets go of the guard")


@pytest.fixture
def blocked(lab: Lab, tmp_path: Path) -> Iterator[Story]:
    yield Story(lab, tmp_path)
    assert lab.other.bytes_received == 0
    assert lab.collector.bytes_received == 0


# -- the agent ------------------------------------------------------------------------------


def test_block_stays_block_when_the_agent_is_killed_and_the_run_is_12(blocked: Story) -> None:
    blocked.run.kill_agent()
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
    story = Story(lab, tmp_path, "audit")
    story.run.kill_agent()
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
    os.kill(blocked.run.agent, signal.SIGSTOP)  # not a moment to take anything down
    os.kill(blocked.run.agent, signal.SIGKILL)
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
        self.agent = self.run.agent

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
