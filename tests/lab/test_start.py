# SPDX-License-Identifier: MIT
"""``leakstop start``, ``report`` and ``stop`` for real, on a cgroup of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab, cgroup
from lab.guard import AGENT, agent_of
from lab.network import BARE

pytestmark = pytest.mark.root

LEAKSTOP = [sys.executable, "-m", "leakstop"]
NOBODY = 65534
DOES = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def group() -> Iterator[Path]:
    with cgroup.child() as made:
        yield made


@pytest.fixture
def leak(lab: Lab) -> Iterator[DOES]:
    """Run a subcommand; whatever agent is left at the end is killed by its id."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        env = {"PYTHONPATH": str(AGENT), **options.pop("env", {})}  # type: ignore[dict-item]
        return lab.run([*LEAKSTOP, *arguments], env=env, **options)

    yield run
    for socket in lab.directory.glob("agent*/control.sock"):
        done = run("stop", "--run-dir", socket.parent)
        assert "Traceback" not in done.stderr


@pytest.fixture
def policy(lab: Lab) -> Path:
    path = lab.directory / "ci.yml"
    path.write_text("version: 1\nmode: block\nallow: home.test\n")
    return path


def visit(lab: Lab, group: Path, url: str) -> int:
    """Ask for ``url`` from inside the guarded cgroup; curl's exit code."""
    return lab.run(cgroup.command_in(group, ["curl", "-sS", "-m", "5", url])).returncode


def test_from_start_to_stop(lab: Lab, leak: DOES, policy: Path, group: Path) -> None:
    run_dir = lab.directory / "agent"
    began = leak("start", "--policy", policy, "--cgroup", group, "--run-dir", run_dir)
    assert (began.returncode, began.stdout) == (0, ""), began.stderr
    assert "guarding the cgroup in block mode" in began.stderr
    assert visit(lab, group, f"http://{BARE}/") == 7
    assert visit(lab, group, "https://home.test/") == 0
    assert lab.collector.bytes_received == 0

    asked = leak("report", "--run-dir", run_dir, "--format", "json")
    assert asked.returncode == 0
    assert BARE in [flow["ip"] for flow in json.loads(asked.stdout)["flows"]]

    out = lab.directory / "out"
    ended = leak("stop", "--run-dir", run_dir, "--report-dir", out)
    assert ended.returncode == 11
    assert f"denied: {BARE}" in ended.stderr
    assert {path.name for path in out.iterdir()} == {"report.json", "events.ndjson", "summary.md"}
    assert visit(lab, group, f"http://{BARE}/") == 0, "the guard is gone"
    assert leak("report", "--run-dir", run_dir).stdout.startswith("Leakstop: ")


def test_the_guard_ends_with_the_worker(lab: Lab, leak: DOES, policy: Path, group: Path) -> None:
    worker = lab.popen(["sleep", "300"])
    run_dir = lab.directory / "agent"
    guard = ("--policy", policy, "--cgroup", group, "--worker", str(worker.pid))
    assert leak("start", *guard, "--run-dir", run_dir).returncode == 0
    agent = agent_of(run_dir)
    assert visit(lab, group, f"http://{BARE}/") == 7
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{agent}").exists():
        assert time.monotonic() < deadline, "the agent outlives the worker"
        time.sleep(0.01)
    report = json.loads(leak("report", "--run-dir", run_dir, "--format", "json").stdout)
    assert BARE in [flow["ip"] for flow in report["flows"]]
    assert not report["coverage"]["agent_died"]
    assert visit(lab, group, f"http://{BARE}/") == 0


def test_a_prepared_document_comes_through_a_pipe(
    lab: Lab, leak: DOES, policy: Path, group: Path
) -> None:
    value = os.urandom(20).hex()
    environment = {"DEPLOY_TOKEN": value}
    document = leak("prepare", "--policy", policy, "--secret", "DEPLOY_TOKEN", env=environment)
    assert document.returncode == 0, document.stderr
    run_dir = lab.directory / "agent"
    guard = ("--prepared", "-", "--cgroup", group, "--run-dir", run_dir)
    began = leak("start", *guard, stdin=document.stdout)
    assert began.returncode == 0, began.stderr
    command = Path(f"/proc/{agent_of(run_dir)}/cmdline").read_bytes()
    assert value.encode() not in command
    assert leak("stop", "--run-dir", run_dir).returncode == 0
    kept = [path.read_bytes() for path in run_dir.rglob("*") if path.is_file()]
    assert not [text for text in kept if value.encode() in text]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"policy": "{}"}'])
def test_a_document_that_is_none_starts_nothing(lab: Lab, leak: DOES, text: str) -> None:
    run_dir = lab.directory / "agent"
    refused = leak("start", "--prepared", "-", "--run-dir", run_dir, stdin=text)
    assert refused.returncode in (2, 3)
    assert "Traceback" not in refused.stderr
    assert not (run_dir / "control.sock").exists()


def test_a_cgroup_that_is_none_is_4(lab: Lab, leak: DOES, policy: Path) -> None:
    guard = ("--policy", policy, "--cgroup", lab.directory, "--run-dir", lab.directory / "agent")
    assert leak("start", *guard).returncode == 4


def test_the_one_who_started_it_may_ask_and_nobody_else(
    lab: Lab, leak: DOES, policy: Path, group: Path
) -> None:
    run_dir = lab.directory / "agent"
    sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    guard = ("--policy", policy, "--cgroup", group, "--run-dir", run_dir)
    began = leak("start", *guard, env=sudo)
    assert began.returncode == 0, began.stderr

    def ask_as(uid: int, gid: int) -> str:
        script = (
            "import socket\ns = socket.socket(socket.AF_UNIX)\n"
            f"s.connect({str(run_dir / 'control.sock')!r})\n"
            's.sendall(b\'{"ask":"status"}\\n\')\nprint(s.recv(999).decode())\n'
        )
        drop = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "/usr/bin/python3"]
        done = lab.run([*drop, "-c", script])
        return done.stdout + done.stderr

    assert '"state":"armed"' in ask_as(NOBODY, NOBODY)
    assert "PermissionError" in ask_as(4711, 4711)
    # The file's mode lets this one in; what the kernel says of the peer turns it away.
    assert "armed" not in ask_as(4711, NOBODY)
    assert leak("stop", "--run-dir", run_dir).returncode == 0
