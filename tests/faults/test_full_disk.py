# SPDX-License-Identifier: MIT
"""A disk that is full costs what should be written there, never the guard and never the verdict."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.scene import RUNS, leakstop
from lab import Lab

pytestmark = pytest.mark.root

INTERNAL, DENIED = 1, 11
FILL = "dd if=/dev/zero of={disk}/filler bs=1k 2>/dev/null; "
BUSY = "for i in $(seq 150); do /bin/true; done; "
VISIT = "curl -sS -m 5 https://other.test/; "


def mount_small(lab: Lab, place: Path) -> None:
    """Put a small file system there, which only the job can see and which goes with it."""
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    lab.job.call(lambda: subprocess.run(command, check=True))


@pytest.fixture
def disk(lab: Lab) -> Iterator[Path]:
    place = lab.directory / "disk"
    place.mkdir()
    mount_small(lab, place)
    yield place
    assert lab.other.bytes_received == 0


def read(lab: Lab, path: Path) -> str:
    """A file as the job sees it."""
    return lab.job.call(path.read_text)


def run(lab: Lab, script: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
    policy = lab.directory / "ci.yml"
    policy.write_text("version: 1\nmode: block\nallow: home.test\n")
    return leakstop(lab, "run", "--policy", policy, *more, "--", "sh", "-c", script)


def test_a_full_disk_costs_the_journal_and_the_report_says_so(lab: Lab, disk: Path) -> None:
    """There is room again in the end, so the report can be written; it is whole."""
    script = FILL.format(disk=disk) + BUSY + VISIT + f"rm {disk}/filler; exit 0"
    done = run(lab, script, "--report-dir", disk)
    assert done.returncode == DENIED, done.stderr
    report = json.loads(read(lab, disk / "report.json"))
    assert [flow["host"] for flow in report["flows"]] == ["other.test"]
    assert report["coverage"]["lost_events"] == 0, "the guard lost nothing, only the disk did"
    (note,) = [note for note in report["coverage"]["notes"] if "journal" in note]
    assert note.startswith("The journal could not be written (No space left on device): ")
    assert note.endswith("The guard went on, and this report comes from memory.")
    assert note in read(lab, disk / "summary.md")
    journal = read(lab, disk / "events.ndjson").splitlines()
    assert all(json.loads(line)["kind"] for line in journal), "whole lines or none"


def test_a_disk_that_stays_full_costs_the_report_not_the_verdict(lab: Lab, disk: Path) -> None:
    script = FILL.format(disk=disk) + BUSY + VISIT + "exit 0"
    done = run(lab, script, "--report-dir", disk)
    assert done.returncode == DENIED
    assert "denied: other.test" in done.stderr
    for name in ("report.json", "summary.md"):
        assert f"leakstop: {name} could not be written: No space left on device" in done.stderr
    kept = lab.job.call(lambda: {path.name for path in disk.iterdir()})
    assert kept == {"filler", "events.ndjson"}, "half a report is worse than none"


def test_a_clean_run_whose_report_cannot_be_written_is_not_0(lab: Lab, disk: Path) -> None:
    done = run(lab, FILL.format(disk=disk) + "exit 0", "--report-dir", disk)
    assert done.returncode == INTERNAL, "who asked for a report must not miss it silently"
    assert "report.json could not be written" in done.stderr


def test_a_full_run_directory_costs_nothing_but_the_journal(lab: Lab, tmp_path: Path) -> None:
    """Without a report directory the journal is in the agent's private one."""
    RUNS.mkdir(exist_ok=True)
    mount_small(lab, RUNS)
    done = run(lab, FILL.format(disk=RUNS) + BUSY + VISIT + "exit 0")
    assert done.returncode == DENIED, done.stderr
    assert "denied: other.test" in done.stderr
    assert lab.other.bytes_received == 0
    assert lab.job.call(lambda: sorted(path.name for path in RUNS.iterdir())) == ["filler"]


def test_without_room_for_a_run_directory_nothing_runs(lab: Lab) -> None:
    RUNS.mkdir(exist_ok=True)
    mount_small(lab, RUNS)
    lab.run(["sh", "-c", FILL.format(disk=RUNS)])
    done = run(lab, f"touch {lab.directory}/ran")
    assert done.returncode == INTERNAL
    assert "error: the guard's record cannot be written: No space left on device" in done.stderr
    assert "\n   = make room on that disk" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (lab.directory / "ran").exists()
