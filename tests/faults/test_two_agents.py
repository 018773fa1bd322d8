# SPDX-License-Identifier: MIT
"""Two guards at once: beside each other, one inside the other, and two that want one place."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from faults.scene import ENVIRON, LEAKSTOP, Running, leakstop
from lab import Lab, cgroup
from lab.guard import DENIED, Guarded

pytestmark = pytest.mark.root

USAGE, UNSUPPORTED = 2, 4
HOSTS = ("home", "other")
POLICY = "version: 1\nmode: block\nallow: {host}.test\n"
# Visits both hosts once the other command is under its guard, too.
SCRIPT = """
touch $LAB/up-{mine}
while [ ! -e $LAB/up-{theirs} ]; do sleep 0.01; done
curl -sS -m 5 https://home.test/
curl -sS -m 5 https://other.test/
touch $LAB/down-{mine}
while [ ! -e $LAB/down-{theirs} ]; do sleep 0.01; done
"""


def written(lab: Lab, host: str) -> Path:
    """A policy that allows one host."""
    path = lab.directory / f"{host}.yml"
    path.write_text(POLICY.format(host=host))
    return path


def verdicts(run: Guarded) -> dict[str, str]:
    return {flow["host"]: flow["applied"] for flow in run.report["flows"]}


def test_two_guards_at_once_each_deny_their_own(lab: Lab, tmp_path: Path) -> None:
    running = {}
    for mine, theirs in (HOSTS, reversed(HOSTS)):
        script = SCRIPT.format(mine=mine, theirs=theirs)
        (tmp_path / mine).mkdir()
        running[mine] = Running(lab, script, policy=written(lab, mine), reports=tmp_path / mine)
    for mine, theirs in (HOSTS, reversed(HOSTS)):
        done = running[mine].end()
        assert (done.code, done.stdout) == (DENIED, "ok\n"), done.stderr
        assert verdicts(done) == {f"{mine}.test": "allow", f"{theirs}.test": "deny"}
        assert done.report["coverage"]["lost_events"] == 0


def test_a_guard_inside_a_guard_may_what_both_allow(
    lab: Lab, tmp_path: Path, options: list[str | Path]
) -> None:
    """The inner one's policy cannot widen the outer one's."""
    inner = written(lab, "other")
    visits = "curl -sS -m 5 https://home.test/; curl -sS -m 5 https://other.test/; exit 0"
    command = [*LEAKSTOP, "run", "--policy", inner, "--report-dir", tmp_path / "inner"]
    group = Path(options[options.index("--cgroup") + 1])
    inside = cgroup.command_in(group, list(map(str, [*command, "--", "sh", "-c", visits])))
    done = lab.run(inside, env=ENVIRON)
    assert (done.returncode, done.stdout) == (DENIED, ""), done.stderr
    assert lab.home.bytes_received == lab.other.bytes_received == 0


def test_a_guarded_command_loads_no_guard_of_its_own(
    lab: Lab, tmp_path: Path, leakstop: Callable[..., Guarded]
) -> None:
    """Who may load programs may also take the outer guard's away."""
    command = [*LEAKSTOP, "run", "--policy", written(lab, "other"), "--report-dir", tmp_path / "in"]
    outer = leakstop([*command, "--", "touch", tmp_path / "ran"], policy=POLICY.format(host="home"))
    assert outer.code == UNSUPPORTED, outer.stderr
    assert "the kernel refused" in outer.stderr
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def options(lab: Lab) -> Iterator[list[str | Path]]:
    """Of ``leakstop start``: a cgroup and a run directory of the test's own."""
    with cgroup.child() as group:
        there: list[str | Path] = ["--cgroup", group, "--run-dir", lab.directory / "agent"]
        began = leakstop(lab, "start", "--policy", written(lab, "home"), *there)
        assert began.returncode == 0, began.stderr
        yield there
        leakstop(lab, "stop", *there[2:])


def test_a_second_agent_in_the_same_run_directory_is_2(lab: Lab, options: list[str | Path]) -> None:
    refused = leakstop(lab, "start", "--mode", "audit", *options)
    assert refused.returncode == USAGE
    assert f"{options[-1]}: error: another agent lives in this run directory" in refused.stderr
    assert "one agent, one run directory" in refused.stderr
    assert "end it with `leakstop stop`, or choose another one with `--run-dir`" in refused.stderr
    asked = leakstop(lab, "report", *options[2:], "--format", "json")
    assert json.loads(asked.stdout)["mode"] == "block", "the first one goes on as it was"
    assert leakstop(lab, "stop", *options[2:]).returncode == 0


def test_a_killed_agents_run_directory_can_be_taken_over(
    lab: Lab, options: list[str | Path]
) -> None:
    """What the dead one left in the kernel goes; what the new one forbids is forbidden."""
    group = Path(options[1])
    while agents := lab.job.processes():  # the supervisor, too: it starts others
        for agent in agents:
            with suppress(ProcessLookupError):
                os.kill(agent, signal.SIGKILL)
    assert lab.run(curl_in(group, "https://other.test/")).returncode == 6, "it still denies"
    began = leakstop(lab, "start", "--policy", written(lab, "other"), *options)
    assert began.returncode == 0, began.stderr
    assert lab.run(curl_in(group, "https://other.test/")).returncode == 0
    assert lab.run(curl_in(group, "https://home.test/")).returncode == 6
    assert leakstop(lab, "stop", *options[2:]).returncode == DENIED
    assert lab.run(curl_in(group, "https://home.test/")).returncode == 0, "nothing is left"


def curl_in(group: Path, url: str) -> list[str]:
    return cgroup.command_in(group, ["curl", "-sS", "-m", "5", url])
