# SPDX-License-Identifier: MIT
"""``leakstop run`` for real: exit codes, files, and everything that can go wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import Lab, cgroup
from lab.guard import AGENT, Guarded

pytestmark = pytest.mark.root

BLOCK = "version: 1\nmode: block\nallow: home.test\n"
LEAKSTOP = [sys.executable, "-m", "leakstop"]
ENVIRON = {"PYTHONPATH": str(AGENT)}
NOBODY = 65534
RUN = Path("/run/leakstop")

Run = Callable[..., Guarded]


@pytest.fixture(autouse=True)
def nothing_is_left(lab: Lab) -> Iterator[None]:
    """No cgroup, no mount and no run directory outlives a run.

    For the test this process moves to a cgroup of its own, and the lab gets its own
    ``/run/leakstop``: so whatever is found there was left by this test.
    """
    RUN.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "none", RUN]
    lab.job.call(lambda: subprocess.run(mount, check=True))
    home = cgroup.current()
    with cgroup.child() as group:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
            deadline = time.monotonic() + 5
            while (left := leftovers(lab, group)) and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            (home / "cgroup.procs").write_text(str(os.getpid()))
        assert left == []


def leftovers(lab: Lab, group: Path) -> list[str]:
    def inside() -> list[str]:
        mounts = Path("/proc/thread-self/mounts").read_text().splitlines()
        # Those of actions that are tried meanwhile show in here, too: they are the machine's.
        return [*os.listdir(RUN), *(line for line in mounts if f"{RUN}/run-" in line)]

    return [*cgroup.children(group), *lab.job.call(inside)]


def popen(lab: Lab, *arguments: str | Path, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return lab.popen([*LEAKSTOP, *arguments], env=ENVIRON, **{**pipes, **options})


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def agent_of(client: int) -> int:
    """The agent: the child with a session of its own."""
    (agent,) = [pid for pid in children(client) if os.getsid(pid) == pid]
    return agent


# -- exit codes -----------------------------------------------------------------------------


@pytest.mark.parametrize("own", [0, 7])
def test_a_clean_run_returns_the_commands_own_code(leakstop: Run, own: int) -> None:
    done = leakstop(["sh", "-c", f"echo out; echo err >&2; exit {own}"], policy=BLOCK)
    assert done.code == own
    assert done.stdout == "out\n"
    assert "err\n" in done.stderr
    assert done.report["verdict"] == "pass"
    assert done.report["coverage"]["sensor"] == "kernel"
    assert done.report["coverage"]["lost_events"] == 0


def test_a_command_that_a_signal_ends_counts_as_in_a_shell(leakstop: Run) -> None:
    assert leakstop(["sh", "-c", "kill -TERM $$"]).code == 143


def test_a_command_that_is_not_there_is_127(leakstop: Run) -> None:
    done = leakstop(["/nonexistent/program"])
    assert done.code == 127
    assert "No such file" in done.stderr


def test_a_denied_host_is_11_at_once_and_named(leakstop: Run, lab: Lab) -> None:
    began = time.monotonic()
    done = leakstop(["curl", "-sS", "https://other.test/"], policy=BLOCK)
    assert time.monotonic() - began < 10
    assert done.code == 11
    assert "other.test" in [flow["host"] for flow in done.report["flows"]]
    assert "denied: other.test" in done.stderr
    assert lab.other.bytes_received == 0


def test_a_named_host_is_reached_in_block_mode(leakstop: Run) -> None:
    done = leakstop(["curl", "-sS", "https://home.test/"], policy=BLOCK)
    assert done.code == 0, done.stderr


def test_a_policy_too_varied_for_the_kernel_is_3(leakstop: Run) -> None:
    rules = "".join(f"  - host{port}.example.test:{port}\n" for port in range(1000, 1260))
    done = leakstop(["true"], policy=f"version: 1\nallow:\n{rules}")
    assert done.code == 3
    assert "256" in done.stderr
    assert not done.has_report


# -- what is left behind --------------------------------------------------------------------


def test_the_report_directory_holds_three_files(leakstop: Run) -> None:
    done = leakstop(["curl", "-sS", "https://home.test/"], policy=BLOCK)
    names = {path.name for path in done.directory.iterdir()}
    assert names == {"report.json", "events.ndjson", "summary.md"}
    lines = (done.directory / "events.ndjson").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    assert (done.directory / "summary.md").read_text().startswith("### Leakstop")


def test_what_the_command_leaves_running_does_not_outlive_the_guard(
    leakstop: Run, tmp_path: Path
) -> None:
    script = f"setsid sleep 300 >/dev/null 2>&1 & echo $! > {tmp_path}/pid"
    done = leakstop(["sh", "-c", script])
    assert done.code == 0
    assert "killed 1 process that was still running" in done.stderr
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/exe").exists()


def test_a_command_that_removes_the_report_directory_hides_nothing(
    leakstop: Run, tmp_path: Path
) -> None:
    """Root may do that; the verdict stands, and it is said that the files could not be kept."""
    done = leakstop(
        ["sh", "-c", f"rm -rf {tmp_path}/report-*; curl -sS https://other.test/"], policy=BLOCK
    )
    assert done.code == 11
    assert "denied: other.test" in done.stderr
    assert "could not be written" in done.stderr


# -- signals --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_still_reports(lab: Lab, tmp_path: Path, number: int) -> None:
    ready = lab.directory / "ready"
    script = f"trap 'exit 9' INT TERM; touch {ready}; while :; do sleep 0.01; done"
    client = popen(lab, "run", "--report-dir", tmp_path, "--", "sh", "-c", script)
    wait_for(ready)
    client.send_signal(number)
    client.communicate(timeout=20)
    assert client.returncode == 9
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "pass"


# -- under sudo --------------------------------------------------------------------------


def test_under_sudo_the_command_runs_as_the_one_who_called(lab: Lab, tmp_path: Path) -> None:
    env = {**ENVIRON, "SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY)}
    out = lab.directory / "out"
    done = lab.run([*LEAKSTOP, "run", "--report-dir", out, "--", "id", "-u"], env=env)
    assert (done.returncode, done.stdout) == (0, f"{NOBODY}\n"), done.stderr
    assert {path.stat().st_uid for path in out.iterdir()} == {NOBODY}


# -- our own code, once the command may write to it -----------------------------------------

_IMPORTS = """
import os, sys
begun, log = sys.argv.pop(1), sys.argv.pop(1)
def watch(event, details):
    if event == "import" and os.path.exists(begun):
        with open(log, "a") as file:
            print(os.getpid(), details[0], file=file)
sys.addaudithook(watch)
from leakstop.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("killed", [False, True])
def test_nothing_is_imported_once_the_command_has_begun(lab: Lab, killed: bool) -> None:
    """The package may lie where the job can write: a late import would be the job's code."""
    begun, log, out = (lab.directory / name for name in ("begun", "log", "out"))
    kill = 'kill -9 $(ps -o pid=,sid= --ppid $PPID | awk "\\$1 == \\$2 {print \\$1}"); '
    script = f"touch {begun}; {kill if killed else ''}curl -sS https://other.test/; exit 0"
    arguments = ["run", "--mode", "block", "--report-dir", out, "--", "sh", "-c", script]
    watched = [sys.executable, "-c", _IMPORTS, begun, log]
    done = lab.run([*watched, *arguments], env=ENVIRON)
    assert done.returncode == (10 if killed else 11), done.stderr
    assert ("The job laid hands on the guard" in done.stderr) == killed
    assert not log.exists(), log.read_text()
