# SPDX-License-Identifier: MIT
"""The first run, without a policy: what it proposes is a word, and block passes with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab.guard import AGENT
from leakstop.sensor import indexes

pytestmark = [pytest.mark.root, pytest.mark.index, pytest.mark.timeout(180)]

DOWNLOAD = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "six"]
_FENCE = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
_ITEM = re.compile(r"^  - (\S+)", re.MULTILINE)


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory that everybody may read."""
    with tempfile.TemporaryDirectory(prefix="leakstop-proposal-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def guard(
    directory: Path, *options: str, command: list[str] = DOWNLOAD, **variables: str
) -> subprocess.CompletedProcess[str]:
    place = ["--uplinks", "none", "--report-dir", "R"]
    return subprocess.run(
        [sys.executable, "-m", "leakstop", "run", *options, *place, "--", *command],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(AGENT), **variables},
        capture_output=True,
        text=True,
        timeout=80,
    )


def proposed(directory: Path) -> str:
    """The policy that the summary proposes."""
    (block,) = _FENCE.findall((directory / "R" / "summary.md").read_text())
    return str(block)


def index_hosts() -> set[str]:
    """What pip is configured for, asked as Leakstop asks it."""
    (destinations,) = indexes.resolve(frozenset({"registry:pip"})).values()
    return {urlsplit(destination).hostname or "" for destination in destinations} - {""}


def test_what_audit_proposes_block_passes_with(directory: Path) -> None:
    audit = guard(directory)
    assert audit.returncode == 0, audit.stderr
    (wheel,) = directory.glob("six-*")
    wheel.unlink()
    block, hosts = proposed(directory), index_hosts()
    lines = _ITEM.findall(block)
    assert "python" in lines
    assert hosts, "the test must know what not to find"
    assert not [host for host in hosts if host in block]
    flows = json.loads((directory / "R" / "report.json").read_text())["flows"]
    assert {flow["host"] for flow in flows} & hosts, "evidence names the host"

    again = guard(directory, "--mode", "block", "--allow", "\n".join(lines))
    assert again.returncode == 0, again.stderr
    assert list(directory.glob("six-*"))
    assert "Protected" in (directory / "R" / "summary.md").read_text()


# Waits until whoever asks the package managers is done, then says that its own host is an index.
HIDING = """
import os, pathlib, socket
client = os.getppid()
def states():
    for pid in pathlib.Path(f"/proc/{client}/task/{client}/children").read_text().split():
        yield pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
while "Z" not in states():
    pass
pathlib.Path("pip.conf").write_text("[global]\\nindex-url = https://collector.example.test/\\n")
try:
    socket.create_connection(("collector.example.test", 443), 5)
except OSError:
    pass
"""


@pytest.mark.parametrize("word", ["", "python"])
def test_a_job_cannot_hide_its_host_behind_a_word(directory: Path, word: str) -> None:
    """The managers are asked as the guard begins: what they are told later counts for nothing."""
    configured = "[global]\nindex-url = https://collector.example.test/\n" if word else ""
    (directory / "pip.conf").write_text(configured)
    run = guard(
        directory,
        command=[sys.executable, "-c", HIDING],
        PIP_CONFIG_FILE=str(directory / "pip.conf"),
    )
    assert run.returncode == 0, run.stderr
    (line,) = _ITEM.findall(proposed(directory))
    assert line == (word or "dns://collector.example.test")
