# SPDX-License-Identifier: MIT
"""No root, no BTF, no cgroup v2: audit observes and says how little, block refuses to pretend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.scene import ENVIRON, LEAKSTOP
from lab import Lab, cgroup
from lab.guard import AGENT, DENIED
from lab.network import BARE

pytestmark = pytest.mark.root

UNSUPPORTED = 4
OWN = 7
NOBODY = 65534
SCRIPT = f"echo ran; curl -sS http://other.test/; sleep 0.6; exit {OWN}"


@dataclass(frozen=True)
class Poverty:
    """What a machine lacks, and how Leakstop says so."""

    what: str
    why: str
    cure: str


NO_ROOT = Poverty(
    "only root can put a guard into the kernel",
    "the kernel sensor needs root",
    "`sudo leakstop run ...` (the command itself still runs as you)",
)
NO_BTF = Poverty(
    "this kernel has no BTF",
    "/sys/kernel/btf/vmlinux is missing",
    "use a kernel built with CONFIG_DEBUG_INFO_BTF",
)
NO_CGROUP = Poverty(
    "this machine has no cgroup v2",
    "the guard is attached to a cgroup v2 directory, and none is mounted",
    "mount it: `mount -t cgroup2 none ",
)
POOR = pytest.mark.parametrize(
    "poverty", [NO_ROOT, NO_BTF, NO_CGROUP], ids=["root", "BTF", "cgroup"]
)
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def work(lab: Lab) -> Path:
    """Where whoever runs Leakstop may write."""
    made = lab.directory / "work"
    made.mkdir()
    os.chown(made, NOBODY, NOBODY)
    return made


@pytest.fixture
def leakstop(lab: Lab, work: Path) -> Callable[..., Done]:
    """Leakstop on a machine that lacks something."""

    def run(poverty: Poverty, *arguments: str | Path) -> Done:
        if poverty is NO_ROOT:
            return lab.run([*_as_nobody(), *arguments], env=_nobodys(work), cwd=work)
        return lab.run([*_without(poverty), *LEAKSTOP, *arguments], env=ENVIRON, cwd=work)

    return run


def _as_nobody() -> list[str]:
    """With the system's interpreter: the one that runs the tests may be readable for root only."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    assert python, "this needs the system's own python3"
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*drop, python, "-m", "leakstop"]


def _nobodys(work: Path) -> dict[str, str]:
    packages = (path for path in sys.path if "site-packages" in path)
    return {"PYTHONPATH": ":".join([str(AGENT), *packages]), "XDG_RUNTIME_DIR": str(work)}


def _without(poverty: Poverty, *, then: str = "true") -> list[str]:
    """A prefix that takes it away from the command only: its mounts are its own."""
    if poverty is NO_BTF:
        script = "mount -t tmpfs none /sys/kernel/btf"
    else:
        points = cgroup.mount_points({"cgroup2"})
        script = " && ".join(f"umount -l '{point}'" for point in points)
    return ["unshare", "--mount", "sh", "-c", f'{script} && {then} && exec "$@"', "sh"]


# -- what each mode does --------------------------------------------------------------------


@POOR
def test_audit_on_a_poor_machine_observes_with_reduced_coverage(
    leakstop: Callable[..., Done], work: Path, poverty: Poverty
) -> None:
    done = leakstop(poverty, "run", "--report-dir", "out", "--", "sh", "-c", SCRIPT)
    assert (done.returncode, done.stdout) == (OWN, "ran\nok\n"), done.stderr
    coverage = json.loads((work / "out" / "report.json").read_text())["coverage"]
    assert coverage["sensor"] == "portable"
    (note,) = [note for note in coverage["notes"] if "Reduced coverage" in note]
    assert (poverty.why if poverty is NO_ROOT else poverty.what) in note
    assert "Leakstop: only partly watched" in done.stderr
    assert "Nothing could have been stopped" in done.stderr


@POOR
def test_block_on_a_poor_machine_is_4_with_the_cure_and_nothing_runs(
    leakstop: Callable[..., Done], lab: Lab, poverty: Poverty
) -> None:
    done = leakstop(poverty, "run", "--mode", "block", "--", "sh", "-c", SCRIPT)
    assert (done.returncode, done.stdout) == (UNSUPPORTED, "")
    assert f"error: {poverty.what}\n   = {poverty.why}" in done.stderr
    assert f"\n   = {poverty.cure}" in done.stderr
    assert "only observe: `" in done.stderr and "mode" in done.stderr
    assert "Traceback" not in done.stderr
    assert lab.other.bytes_received == 0


@POOR
def test_block_that_accepts_less_runs_and_says_so(
    leakstop: Callable[..., Done], work: Path, poverty: Poverty
) -> None:
    policy = work / "ci.yml"
    policy.write_text("version: 1\nmode: block\non-unsupported: audit\nallow: home.test\n")
    arguments = ["--policy", policy, "--report-dir", "out"]
    done = leakstop(poverty, "run", *arguments, "--", "sh", "-c", SCRIPT)
    assert (done.returncode, done.stdout) == (OWN, "ran\nok\n"), done.stderr
    report = json.loads((work / "out" / "report.json").read_text())
    assert (report["mode"], report["coverage"]["sensor"]) == ("audit", "portable")
    assert "Reduced coverage" in done.stderr
    assert "Nothing could have been stopped" in done.stderr


@POOR
def test_the_doctor_says_what_is_missing(leakstop: Callable[..., Done], poverty: Poverty) -> None:
    done = leakstop(poverty, "doctor")
    assert done.returncode == UNSUPPORTED
    assert "The kernel sensor does not work here:" in done.stdout
    missing = {NO_ROOT: "takes root", NO_BTF: "no BTF", NO_CGROUP: "No cgroup v2 is mounted"}
    assert missing[poverty] in done.stdout
    assert "The portable sensor would be used." in done.stdout


# -- cgroup v2 wherever it is ---------------------------------------------------------------


def test_cgroup_v2_is_found_wherever_it_is_mounted(lab: Lab) -> None:
    """As on hybrid hierarchies, and even where mountinfo has to escape the blank in its path."""
    place = lab.directory / "some where"
    place.mkdir()
    prepare = _without(NO_CGROUP, then=f"mount -t cgroup2 none '{place}'")
    command = ["run", "--mode", "block", "--", "curl", "-sS", "-m", "5", f"http://{BARE}/"]
    done = lab.run([*prepare, *LEAKSTOP, *command], env=ENVIRON)
    assert done.returncode == DENIED, done.stderr
    assert f"denied: {BARE}" in done.stderr
    assert lab.collector.bytes_received == 0
