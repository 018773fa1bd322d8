# SPDX-License-Identifier: MIT
"""The journal is the agent's alone: who cuts it, adds to it or writes over it is a finding, and
what the report says does not change by it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.conftest import nothing_is_left  # noqa: F401 -- for all of these tests
from faults.scene import Running, Story, wait_until
from lab import Lab
from lab.guard import FINDINGS, Guarded
from lab.network import BARE

pytestmark = pytest.mark.root

POLICY = "version: 1\nmode: block\nallow: home.test\n"
SCRIPT = f"""
curl -sS -m 5 http://{BARE}/
until grep -q '"{BARE}"' "$JOURNAL"; do sleep 0.05; done
"""
FORGED = '{"kind":"exit","ts_ns":1,"pid":1,"code":0}'
WAYS = {
    ": > $JOURNAL": "Nothing stopped it.",
    "truncate -s 0 $JOURNAL": "Nothing stopped it.",
    "printf 9 | dd of=$JOURNAL bs=1 seek=20 conv=notrunc": "Nothing stopped it.",
    f"echo '{FORGED}' >> $JOURNAL": "The agent has put it right.",
}


def assert_told(done: Guarded) -> str:
    """The job is red, and its report is whole; what the finding says of it."""
    assert done.code == FINDINGS, done.stderr
    (finding,) = done.findings("guard-attacked")
    assert (finding["severity"], finding["destination"]) == ("critical", "the journal of events")
    assert BARE in {flow["ip"] for flow in done.report["flows"] if flow["applied"] == "deny"}
    return str(finding["action_taken"])


@pytest.mark.parametrize("way", WAYS)
def test_what_a_job_does_to_it(lab: Lab, tmp_path: Path, way: str) -> None:
    policy, reports = lab.directory / "policy.yml", tmp_path / "reports"
    policy.write_text(POLICY)
    script = f"JOURNAL={reports}/events.ndjson\n{SCRIPT}\n({way}); sleep 1"
    done = Running(lab, script, policy=policy, reports=reports).end()
    assert assert_told(done).endswith(WAYS[way])
    (finding,) = done.findings("guard-attacked")
    program = Path(finding["process"]["exe"]).name
    assert program in ("dash", "bash", "sh", "dd", "truncate")
    assert not [event for event in done.events("exit") if event["pid"] == 1], "it was taken away"


@pytest.fixture
def blocked(lab: Lab, tmp_path: Path) -> Iterator[Story]:
    yield Story(lab, tmp_path, POLICY)


def while_there_is_no_agent(blocked: Story, do: str) -> Guarded:
    """Kill the agent, do something to its journal, and have it started again."""
    run = blocked.run
    journal, supervisor, agent = run.journal_path, run.supervisor, run.agent
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(agent, signal.SIGKILL)
    blocked.lab.run(["sh", "-c", do], env={"JOURNAL": str(journal)})
    os.kill(supervisor, signal.SIGCONT)
    wait_until(lambda: '"gap"' in run.journal(), "another agent has taken over")
    blocked.go_on()
    blocked.end()
    done = run.end()
    blocked.assert_taken_down()
    return done


def test_what_is_added_while_there_is_no_agent_is_taken_away(blocked: Story) -> None:
    done = while_there_is_no_agent(blocked, f"echo '{FORGED}' >> $JOURNAL")
    assert "written to, and put it right" in assert_told(done)
    assert len(done.events("started")) == 1, "what was there is there"
    assert not [event for event in done.events("exit") if event["pid"] == 1]


def test_what_is_taken_out_while_there_is_no_agent_is_told(blocked: Story) -> None:
    """What is gone is gone; but the report does not look as if nothing had happened."""
    do = f"grep -v '\"{BARE}\"' $JOURNAL > $JOURNAL.2; cat $JOURNAL.2 > $JOURNAL; rm $JOURNAL.2"
    done = while_there_is_no_agent(blocked, do)
    assert "cut short: it stays so" in assert_told(done)
    notes = " ".join(done.report["coverage"]["notes"])
    assert "may be incomplete or forged" in notes


def test_a_killed_agent_alone_accuses_nobody(blocked: Story) -> None:
    done = while_there_is_no_agent(blocked, "true")
    assert done.findings("guard-attacked") == []
    assert len(done.events("started")) == 1
