# SPDX-License-Identifier: MIT
"""T70, T79 from end to end: the report of ``leakstop run`` names who laid hands on the guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.scene import Running, wait_until
from lab import Lab, cgroup
from lab.guard import FINDINGS, Guarded

pytestmark = pytest.mark.root

POLICY = "version: 1\nmode: {mode}\nallow: [allowed.test]\n"
WAIT = 'touch "$LAB/up"; until [ -s "$LAB/told" ]; do sleep 0.05; done; read told < "$LAB/told"\n'


def run(lab: Lab, tmp_path: Path, script: str, whom: str, mode: str = "block") -> Guarded:
    """Run ``script``, which is told of a process of the guard's or of a place."""
    policy = lab.directory / "policy.yml"
    policy.write_text(POLICY.format(mode=mode))
    running = Running(lab, WAIT + script, policy=policy, reports=tmp_path / "reports")
    wait_until((lab.directory / "up").exists, "the command runs")
    told = str(cgroup.current()) if whom == "outside" else str(getattr(running, whom))
    (lab.directory / "told").write_text(f"{told}\n")
    return running.end()


@pytest.mark.parametrize("whom", ["agent", "supervisor"])
@pytest.mark.parametrize("mode", ["audit", "block"])
def test_a_signal_at_the_guard(lab: Lab, tmp_path: Path, whom: str, mode: str) -> None:
    """Stopped and let go on, so that nothing else happens than this."""
    script = 'kill -STOP "$told"; sleep 0.2; kill -CONT "$told"; sleep 0.2'
    done = run(lab, tmp_path, script, whom, mode)
    [finding] = done.findings("guard-attacked")
    assert finding["destination"] == "SIGSTOP at Leakstop's own process"
    assert Path(finding["process"]["exe"]).name in ("dash", "sh", "bash")
    assert finding["severity"] == "critical"
    assert done.code != 0


def test_a_restarted_agent_is_no_attacker(lab: Lab, tmp_path: Path) -> None:
    """It takes over what is in force, and writes its maps."""
    done = run(lab, tmp_path, 'kill -KILL "$told"; sleep 2; echo on', "agent")
    assert done.stdout == "on\n"
    assert [each["destination"] for each in done.findings("guard-attacked")] == [
        "SIGKILL at Leakstop's own process"
    ]


def test_out_of_the_commands_cgroup(lab: Lab, tmp_path: Path) -> None:
    done = run(lab, tmp_path, 'echo $$ > "$told/cgroup.procs"', "outside")
    [finding] = done.findings("left-the-guard")
    assert finding["severity"] == "high"
    assert done.code == FINDINGS
