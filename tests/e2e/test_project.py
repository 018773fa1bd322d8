# SPDX-License-Identifier: MIT
"""An ordinary Python project: audit passes and proposes a policy, with it block passes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.acting import ACTION, Bench, Outcome, bench

pytestmark = [pytest.mark.root, pytest.mark.act, pytest.mark.index]

TIMEOUT_S = 150
TEST = """\
import unittest
import six

class TestSix(unittest.TestCase):
    def test_version(self):
        self.assertTrue(six.PY3)
"""
STEPS = """
- id: install
  run: |
    python3 -m venv .venv
    .venv/bin/python -m pip install --no-cache-dir -r requirements.txt
- id: test
  run: .venv/bin/python -m unittest -v
"""
_FENCE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.fixture
def project() -> Iterator[Bench]:
    """A Python project, with this machine's own network and package index."""
    directory = Path(tempfile.mkdtemp(prefix="leakstop-project-"))
    directory.chmod(0o755)
    try:
        with bench(directory, start) as made:
            made.write("requirements.txt", "six\n")
            made.write("test_project.py", TEST)
            yield made
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def start(command: list[str], *, env: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    """Start a command with this machine's own settings for pip and TLS."""
    return subprocess.Popen(
        command, env={**os.environ, **env}, text=True, start_new_session=True, **options
    )


def job(guard: str) -> str:
    """The project's workflow with this step for a guard."""
    checkout = "- uses: actions/checkout@v6\n"  # act copies the repository, and fetches nothing
    return textwrap.dedent(guard).strip("\n") + "\n" + checkout + STEPS


def assert_passes(outcome: Outcome) -> None:
    """The project's tests ran, and the guard had nothing to object."""
    assert not outcome.red, outcome.text
    assert outcome.result("test") == "success"
    assert "OK" in outcome.said("Main", "test")
    assert outcome.record("run")[0]["verdict"] == "pass"
    assert outcome.record("run")[0]["coverage"]["lost_events"] == 0
    assert outcome.annotations("error") == []


@pytest.mark.timeout(2 * TIMEOUT_S)
def test_audit_proposes_what_block_then_passes_with(project: Bench) -> None:
    audit = project.run(job(f"- uses: {ACTION}"), timeout_s=TIMEOUT_S)
    assert_passes(audit)
    (notice,) = audit.annotations()
    assert notice.title == "Leakstop: hosts not named yet"
    (step,) = _FENCE.findall(audit.summary)
    assert step.strip().startswith(f"- uses: {ACTION}\n")
    assert "mode: audit " in step

    block = project.run(job(step.replace("mode: audit ", "mode: block ")), timeout_s=TIMEOUT_S)
    assert_passes(block)
    assert block.annotations() == []
    assert "Protected" in block.summary
    assert "nothing to do" in block.summary


@pytest.mark.timeout(2 * TIMEOUT_S)
def test_block_with_the_preset_denies_another_index(project: Bench) -> None:
    guard = f"- uses: {ACTION}\n  with:\n    mode: block\n    allow: python\n"
    assert_passes(project.run(job(guard), timeout_s=TIMEOUT_S))

    other = job(guard) + "- run: curl -sS -m 10 https://other.example.test/\n"
    denied = project.run(other, timeout_s=TIMEOUT_S)
    assert denied.red
    assert denied.result("test") == "success"
    (error,) = denied.annotations("error")
    assert error.title == "Leakstop: a host was denied"
    assert "other.example.test" in error.message
