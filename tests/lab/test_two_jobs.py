# SPDX-License-Identifier: MIT
"""Two jobs on one machine, each with a guard of its own: what is one's is never the other's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab, cgroup, tokens
from lab.guard import AGENT, DENIED, FINDINGS
from lab.network import BARE
from lab.tokens import Token

pytestmark = pytest.mark.root

LEAKSTOP = [sys.executable, "-m", "leakstop"]


@dataclass
class Job:
    """One job, its guard and its secret."""

    lab: Lab
    name: str
    group: Path
    secret: Token

    @property
    def run_dir(self) -> Path:
        """The agent's."""
        return self.lab.directory / f"agent-{self.name}"

    def start(self, allow: str) -> None:
        """Put the guard in force."""
        policy = self.lab.directory / f"{self.name}.yml"
        policy.write_text(f"version: 1\nmode: block\nallow: {allow}\n")
        options = ["--policy", policy, "--cgroup", self.group, "--run-dir", self.run_dir]
        done = self._leakstop("start", *options, "--secret", self.secret.name)
        assert done.returncode == 0, done.stderr

    def visits(self, url: str, *options: str) -> int:
        """Curl's exit code, from inside."""
        command = ["curl", "-sS", "-m", "5", *options, url]
        return self.lab.run(cgroup.command_in(self.group, command), env=self.secret.env).returncode

    def stop(self) -> tuple[int, dict[str, Any], str]:
        """End the guard: the exit code, the report, and all that it wrote."""
        out = self.lab.directory / f"out-{self.name}"
        done = self._leakstop("stop", "--run-dir", self.run_dir, "--report-dir", out)
        written = [path.read_text() for path in sorted(out.iterdir())]
        report = json.loads((out / "report.json").read_text())
        return done.returncode, report, "\n".join([done.stderr, *written])

    def _leakstop(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        env = {"PYTHONPATH": str(AGENT), **self.secret.env}
        return self.lab.run([*LEAKSTOP, *words], env=env)


@pytest.fixture
def jobs(lab: Lab) -> Iterator[tuple[Job, Job]]:
    """One that may visit `home.test`, with a cloud's key, and one that may visit `other.test`."""
    with cgroup.child() as first, cgroup.child() as second:
        one = Job(lab, "one", first, tokens.cloud_key())
        two = Job(lab, "two", second, tokens.home_made())
        one.start("home.test")
        # Of what runs beside it, the second guard must not even keep the command line.
        lab.popen(cgroup.command_in(first, ["sh", "-c", "sleep 60; :", one.secret.value]))
        two.start("other.test")
        yield one, two
        for job in (one, two):
            if (job.run_dir / "control.sock").exists():
                job.stop()


def test_findings_denials_and_secrets_of_one_are_not_the_others(jobs: tuple[Job, Job]) -> None:
    one, two = jobs
    lab = one.lab
    # Each visits what only the other may, and the first one's secret is on its way out.
    assert (one.visits("https://home.test/"), one.visits("https://other.test/")) == (0, 6)
    assert (two.visits("https://other.test/"), two.visits("https://home.test/")) == (0, 6)
    assert one.visits(f"http://{BARE}/", "-d", one.secret.value) == -9
    assert lab.collector.connections == []

    code, report, texts = one.stop()
    assert code == FINDINGS
    assert {f["secret"] for f in report["findings"] if f["secret"]} == {one.secret.name}
    assert {(f["host"] or f["ip"], f["applied"]) for f in report["flows"]} == {
        ("home.test", "allow"),
        ("other.test", "deny"),
        (BARE, "deny"),
    }
    assert two.secret.name not in texts
    assert not [form for form in two.secret.forms if form.decode() in texts]

    assert (two.visits("https://other.test/"), two.visits("https://home.test/")) == (0, 6)
    code, report, texts = two.stop()
    assert code == DENIED
    assert not [finding for finding in report["findings"] if finding["secret"]]
    assert {(f["host"] or f["ip"], f["applied"]) for f in report["flows"]} == {
        ("other.test", "allow"),
        ("home.test", "deny"),
    }
    assert one.secret.name not in texts
    assert one.secret.value not in texts
    assert BARE not in texts


def test_a_secret_inside_tls_is_judged_by_the_guard_of_its_own_job(jobs: tuple[Job, Job]) -> None:
    """Both look into the same library: only the one whose process it is may stop it."""
    one, two = jobs
    body = one.lab.directory / "body"
    body.write_text(one.secret.value)
    post = ("--data-binary", f"@{body}")
    assert two.visits("https://other.test/", *post) == 0, "no secret of this job"
    assert one.visits("https://home.test/", *post) == -9
    assert one.lab.other.received(one.secret.value.encode())
    assert not one.lab.home.received(one.secret.value.encode())
    code, report, _ = two.stop()
    assert (code, report["findings"]) == (0, [])
    code, report, _ = one.stop()
    assert code == FINDINGS
    assert "secret-in-tls" in [finding["id"] for finding in report["findings"]]
