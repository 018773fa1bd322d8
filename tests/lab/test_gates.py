# SPDX-License-Identifier: MIT
"""A test that cannot run here is never taken for one that passed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import capabilities

TESTS = Path(__file__).parents[1]
GATED = f"{TESTS}/lab/test_lab.py::test_nothing_gets_out"
POORER = 'from lab.capabilities import PROBES\nPROBES["root"] = lambda: "not root"\n'
"""A plugin that takes away what this machine may have."""


def run_gated(policy: str, plugins: Path) -> subprocess.CompletedProcess[str]:
    """Run one gated test in a pytest of its own, on a machine without root."""
    (plugins / "poorer.py").write_text(POORER)
    flags = ["-p", "poorer", "-p", "no:cacheprovider", f"--lab={policy}"]
    path = os.pathsep.join(map(str, (plugins, TESTS)))
    return subprocess.run(
        [sys.executable, "-m", "pytest", *flags, GATED],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        capture_output=True,
        timeout=30,
    )


def test_require_fails_what_cannot_run(tmp_path: Path) -> None:
    done = run_gated("require", tmp_path)
    assert done.returncode == 1, done.stdout
    assert "not run: root: not root" in done.stdout


def test_auto_lists_what_cannot_run(tmp_path: Path) -> None:
    done = run_gated("auto", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "NOT RUN: 1" in done.stdout and "(root: not root)" in done.stdout
    assert "passed" not in done.stdout


def test_off_leaves_out_without_asking(tmp_path: Path) -> None:
    done = run_gated("off", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "NOT RUN: 1" in done.stdout and "--lab=off" in done.stdout


def test_every_marker_has_a_probe(pytestconfig: pytest.Config) -> None:
    markers = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert set(capabilities.PROBES) <= markers
    assert all(
        isinstance(probe(), str) for name, probe in capabilities.PROBES.items() if name != "index"
    )


def test_the_environment_of_a_workflow_does_not_reach_tests() -> None:
    environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "CI": "1", "GITHUB_ACTIONS": "true"}
    program = "import conftest, os; conftest.pytest_configure(); print(sorted(os.environ))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=TESTS, env=environ, text=True, capture_output=True
    )
    assert "PATH" in done.stdout, done.stderr
    assert "CI" not in done.stdout and "GITHUB" not in done.stdout
