# SPDX-License-Identifier: MIT
"""Runs a command in the lab under ``leakstop run``, and reads what it said."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.network import Lab
from lab.tokens import Token

AGENT = Path(__file__).resolve().parents[2] / "agent"
FINDINGS, DENIED = 10, 11
"""Exit codes of the contract, written out: a renumbering must fail here."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Guarded:
    """One guarded run."""

    code: int
    stdout: str
    stderr: str
    directory: Path
    """The report directory."""

    @property
    def has_report(self) -> bool:
        """Whether there is a ``report.json``."""
        return (self.directory / "report.json").exists()

    @property
    def report(self) -> dict[str, Any]:
        """``report.json``."""
        assert self.has_report, f"no report; exit code {self.code}, it said:\n{self.stderr}"
        report: dict[str, Any] = json.loads((self.directory / "report.json").read_text())
        return report

    def findings(self, identity: str = "") -> list[dict[str, Any]]:
        """The findings, all or those with this id."""
        found: list[dict[str, Any]] = self.report["findings"]
        return [finding for finding in found if identity in ("", finding["id"])]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The journal's events of one kind."""
        journal = (self.directory / "events.ndjson").read_text().splitlines()
        return [event for event in map(json.loads, journal) if event["kind"] == kind]

    def outputs(self) -> bytes:
        """Everything that was said or written, to search for what must not be there."""
        files = sorted(path for path in self.directory.rglob("*") if path.is_file())
        texts = [self.stdout.encode(errors="surrogateescape")]
        texts += [self.stderr.encode(errors="surrogateescape")]
        return b"\n".join(texts + [path.read_bytes() for path in files])

    def shows(self, token: Token) -> list[bytes]:
        """Forms of ``token``'s value that stand in any output; must be empty."""
        outputs = self.outputs()
        return [form for form in token.forms if form in outputs]


def assert_leak_stopped(
    run: Guarded, token: Token, *, finding: str, program: str, destination: str
) -> None:
    """Check all that a stopped leak promises, but for what the collector got.

    The job is red, one finding names process, destination and secret, nothing was lost, and no
    output holds the value.
    """
    assert run.code == FINDINGS, f"exit code {run.code}; it said:\n{run.stderr}"
    assert run.report["verdict"] == "fail"
    assert run.report["coverage"]["lost_events"] == 0
    found = run.findings(finding)
    assert len(found) == 1, f"one cause is one finding, got {run.findings()}"
    assert (found[0]["severity"], found[0]["secret"]) == ("critical", token.name)
    assert found[0]["destination"].startswith(destination)
    # an interpreter's file name may go on with its version
    assert Path(found[0]["process"]["exe"]).name.startswith(program)
    assert found[0]["process"]["pid"] > 0
    assert found[0]["process"]["ancestry"], "who started it is part of the story"
    if finding == "secret-in-argv":
        shown = found[0]["process"]
        assert f"***{token.name}***" in " ".join(shown["argv"]) or shown["truncated"]
    assert run.shows(token) == []


def guard(
    lab: Lab,
    command: Sequence[str | Path],
    *,
    mode: str = "",
    policy: str = "",
    secrets: Sequence[Token] = (),
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    reports: Path | None = None,
    timeout_s: float = 30,
) -> Guarded:
    """Run ``command`` under ``leakstop run`` as the lab's job.

    ``policy`` is the text of a policy file. The values of ``secrets`` are in the environment, as
    in a step. Reports go to a new directory below ``reports`` (default: the lab's).
    """
    number = next(_numbers)
    directory = (reports or lab.directory) / f"report-{number}"
    arguments = ["--report-dir", str(directory), *options]
    if mode:
        arguments += ["--mode", mode]
    if policy:
        path = lab.directory / f"policy-{number}.yml"
        path.write_text(policy)
        arguments += ["--policy", str(path)]
    for token in secrets:
        arguments += ["--secret", token.name]
    variables = {key: value for token in secrets for key, value in token.env.items()}
    done = lab.run(
        [sys.executable, "-m", "leakstop", "run", *arguments, "--", *command],
        env={"PYTHONPATH": str(AGENT), **variables, **(env or {})},
        timeout_s=timeout_s,
    )
    return Guarded(done.returncode, done.stdout, done.stderr, directory)


def agent_of(run_dir: Path) -> int:
    """The agent's pid, from the kernel: whoever holds the lock."""
    inode = (run_dir / "lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    raise AssertionError("nobody holds the lock")
