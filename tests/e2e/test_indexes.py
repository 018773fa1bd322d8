# SPDX-License-Identifier: MIT
"""Real package clients, against the indexes that this machine is configured for.

No policy names their hosts: ``registry:`` asks the clients. Everything else is denied.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DENIED = 11

pytestmark = [pytest.mark.root, pytest.mark.index, pytest.mark.timeout(180)]

CLIENTS = {
    "python": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", ".", "six"],
    "node": ["npm", "pack", "--silent", "is-number"],
    "debian": ["apt-get", "-q", "download", "hostname"],
}
DOWNLOADED = {"python": "six-*", "node": "is-number-*.tgz", "debian": "hostname_*.deb"}


def run(directory: Path, preset: str, command: list[str]) -> tuple[int, str, dict[str, object]]:
    report = directory / "report"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "leakstop", "run", "--mode", "block"),
            *("--uplinks", "none"),
            *("--policy", str(ROOT / f"policies/{preset}.yml"), "--report-dir", str(report)),
            *("--", *command),
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT / "agent")},
        capture_output=True,
        text=True,
        timeout=150,
    )
    return done.returncode, done.stderr, json.loads((report / "report.json").read_text())


@pytest.mark.parametrize("preset", CLIENTS)
def test_the_client_works_and_only_it(tmp_path: Path, preset: str) -> None:
    tmp_path.chmod(0o755)
    code, said, report = run(tmp_path, preset, CLIENTS[preset])
    assert code == 0, said
    assert list(tmp_path.glob(DOWNLOADED[preset]))
    assert report["verdict"] == "pass"
    flows = report["flows"]
    assert isinstance(flows, list) and flows
    # apt asks for service records on the way, and does without
    assert {flow["applied"] for flow in flows if not flow["quiet"]} == {"allow"}


@pytest.mark.parametrize("preset", CLIENTS)
def test_another_host_in_the_same_run_is_denied_at_once(tmp_path: Path, preset: str) -> None:
    tmp_path.chmod(0o755)
    code, said, report = run(
        tmp_path,
        preset,
        ["sh", "-c", '"$@" && curl -sS -m 20 https://elsewhere.test/', "sh", *CLIENTS[preset]],
    )
    assert code == DENIED, said
    assert list(tmp_path.glob(DOWNLOADED[preset])), "the client itself must go on working"
    flows = report["flows"]
    assert isinstance(flows, list)
    denied = [flow for flow in flows if flow["applied"] == "deny" and not flow["quiet"]]
    assert {flow["host"] for flow in denied} == {"elsewhere.test"}
    assert denied[0]["process"]["exe"].endswith("/curl")
    assert "elsewhere.test" in said


def test_the_denial_does_not_hang(tmp_path: Path) -> None:
    script = "import socket,time\nt=time.monotonic()\n"
    script += "try: socket.create_connection(('elsewhere.test',443))\n"
    script += "except OSError: print('took', time.monotonic()-t)"
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "leakstop", "run", "--mode", "block"),
            *("--uplinks", "none", "--"),
            *(sys.executable, "-c", script),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "agent")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == DENIED, done.stderr
    took = re.search(r"took ([\d.]+)", done.stdout)
    assert took and float(took[1]) < 2.0 < 30 > time.monotonic() - began
