# SPDX-License-Identifier: MIT
"""The action's files and its node are out of the job's reach, and it is told if that ends."""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

import pytest

from leakstop.act import changes
from leakstop.bpf.mounts import mounts
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor.covered import CoveredWatch
from tamper.apart import apart

pytestmark = pytest.mark.root

RUNNER = 65534


def work_tree(base: Path) -> tuple[Path, Path]:
    """A runner's directory of actions, all of it the job's user's: its top and the action."""
    base.chmod(0o755)
    top = base / "work/_actions"
    action = top / "owner/leakstop/v1"
    (action / "agent/hook").mkdir(parents=True)
    (action / "agent/hook/post.js").write_text("the real one")
    (action / "run.sh").write_text("#!/bin/sh\necho real\n")
    (action / "run.sh").chmod(0o700)
    (action / "link").symlink_to("agent/hook/post.js")
    for directory, _, files in os.walk(base / "work"):
        for name in (".", *files):
            os.chown(Path(directory, name), RUNNER, RUNNER, follow_symlinks=False)
    return top, action


def as_runner(script: str, where: Path) -> int:
    """Run ``script`` as the job's user; its exit code."""
    return subprocess.run(
        ["sh", "-c", script], cwd=where, user=RUNNER, group=RUNNER, stderr=subprocess.DEVNULL
    ).returncode


@pytest.mark.parametrize(
    "script",
    [
        "echo fake > _actions/owner/leakstop/v1/agent/hook/post.js",
        "rm _actions/owner/leakstop/v1/agent/hook/post.js",
        "mv _actions/owner/leakstop/v1 away",
        "mv _actions/owner/leakstop away",
        "mv _actions/owner away",
        "mv _actions away",
        "rm -rf _actions",
        "chmod 777 _actions/owner/leakstop/v1",
        "touch _actions/owner/leakstop/v1/node_modules",
    ],
)
def test_the_job_cannot_exchange_it(tmp_path: Path, script: str) -> None:
    top, action = work_tree(tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir()

    def work() -> None:
        before = {mount.point for mount in mounts()}
        assert changes.cover(run_dir, [(action, top)])[-1] == action
        assert as_runner(script, tmp_path / "work") != 0
        post = action / "agent/hook/post.js"
        assert post.read_text() == (action / "link").read_text() == "the real one"
        assert post.stat().st_uid == 0
        assert as_runner("./run.sh", action) == 0, "and it can still be run"
        changes.undo(run_dir)
        changes.undo(run_dir)
        assert {mount.point for mount in mounts()} == before
        assert post.stat().st_uid == RUNNER

    apart(work)


def test_without_it_the_job_could(tmp_path: Path) -> None:
    _, action = work_tree(tmp_path)
    assert as_runner("echo fake > agent/hook/post.js", action) == 0


def test_one_file_is_kept_as_well(tmp_path: Path) -> None:
    top, action = work_tree(tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir()

    def work() -> None:
        changes.cover(run_dir, [(action / "run.sh", top)])
        assert as_runner("echo fake > run.sh", action) != 0
        assert as_runner("mv run.sh away", action) != 0
        assert as_runner("./run.sh", action) == 0
        changes.undo(run_dir)

    apart(work)


def test_it_runs_from_where_nothing_is_run(tmp_path: Path) -> None:
    """The copy lies below /run, which distributions mount with noexec."""
    top, action = work_tree(tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir()

    def work() -> None:
        mount = ["mount", "-t", "tmpfs", "-o", "noexec,nosuid,nodev", "none", str(run_dir)]
        subprocess.run(mount, check=True)
        changes.cover(run_dir, [(action / "run.sh", top)])
        assert as_runner("./run.sh", action) == 0
        changes.undo(run_dir)

    apart(work)


def test_it_is_told_when_a_mount_is_taken_away(tmp_path: Path) -> None:
    top, action = work_tree(tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir()

    def work() -> None:
        watch = CoveredWatch(changes.cover(run_dir, [(action, top)]))
        assert watch.start() == ()
        with select.epoll() as epoll:
            watch.wake(epoll.fileno())
            epoll.poll(0)
            assert list(watch.follow()) == []
            subprocess.run(["umount", str(action)], check=True)
            assert epoll.poll(5), "it does not wake"
            (event,) = watch.follow()
            assert isinstance(event, Tamper)
            assert (event.trick, event.pid, event.what) == (Trick.MOUNT, 0, str(action))
            assert (event.route, event.mended) == ("not mounted any more", False)
            assert list(watch.follow()) == []
        watch.close()
        changes.undo(run_dir)

    apart(work)


@pytest.mark.parametrize("place", ["the action", "what is above", "/proc", "/proc/1/environ"])
def test_it_is_told_when_something_is_mounted_over_it(tmp_path: Path, place: str) -> None:
    """The last step would run another program, and the agent read what it is told."""
    top, action = work_tree(tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    point = Path({"the action": action, "what is above": tmp_path}.get(place, place))
    source = tmp_path if point.is_dir() else action / "run.sh"

    def work() -> None:
        watch = CoveredWatch(changes.cover(run_dir, [(action, top)]), [run_dir])
        assert watch.start() == ()
        for harmless in (tmp_path / "work/other", Path("/proc/sys/fs"), tmp_path / "run/below"):
            if not harmless.exists():
                harmless.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "none", str(harmless)], check=True)
            assert list(watch.follow()) == []
        subprocess.run(["mount", "--bind", str(source), str(point)], check=True)
        (event,) = watch.follow()
        assert isinstance(event, Tamper)
        assert (event.trick, event.what, event.route) == (Trick.MOUNT, str(point), "mounted over")
        subprocess.run(["umount", str(point)], check=True)
        assert list(watch.follow()) == []
        watch.close()
        changes.undo(run_dir)

    apart(work)
