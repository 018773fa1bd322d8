# SPDX-License-Identifier: MIT
"""T79: who gets out of the guarded cgroup is told, with where to and by whom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import cgroup
from lab.clones import Clone
from leakstop.model.process import Tag
from leakstop.model.tamper import Trick
from tamper.scene import Scene, scene

pytestmark = pytest.mark.root

MOVER = "import sys; print(flush=True); sys.stdin.readline(); open(sys.argv[1], 'w').write('0')"


def move(scene: Scene, where: Path) -> int:
    """Let a process of the job move itself."""
    with prepared(scene.group, where) as process:
        scene.own(process.pid, Tag.JOB)
        process.communicate("\n", timeout=10)
    return int(process.pid)


def prepared(group: Path, where: Path) -> subprocess.Popen[str]:
    """A process in ``group`` that moves itself once it is told to."""
    command = [sys.executable, "-c", MOVER, str(where / "cgroup.procs")]
    process = subprocess.Popen(
        cgroup.command_in(group, command),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_out_of_the_guarded_one(block: Scene) -> None:
    with cgroup.child() as beside:
        mover = move(block, beside)
        [told] = block.tampers(Trick.CGROUP)
        assert (told.pid, Path(told.what).name) == (mover, beside.name)


def test_by_somebody_else(block: Scene) -> None:
    """As ``systemd-run --scope`` has it done."""
    with cgroup.child() as beside:
        sleeper = cgroup.command_in(block.group, ["sleep", "9"])
        with subprocess.Popen(sleeper) as process:
            try:
                while str(process.pid) not in (block.group / "cgroup.procs").read_text():
                    pass
                block.own(process.pid, Tag.JOB)
                (beside / "cgroup.procs").write_text(str(process.pid))
            finally:
                process.kill()
        [told] = block.tampers(Trick.CGROUP)
        assert told.pid == process.pid
        assert told.what.endswith(f"{beside.name}, by process {os.getpid()}")


def test_deeper_is_still_inside(block: Scene) -> None:
    below = block.group / "below"
    below.mkdir()
    move(block, below)
    assert block.tampers(Trick.CGROUP) == []


def test_who_was_there_before_the_guard(tmp_path: Path) -> None:
    """Of those inside it is told. One that never was inside has not left: a service manager moves
    those of others, too."""
    with (
        cgroup.child() as elsewhere,
        cgroup.child() as beside,
        prepared(elsewhere, beside) as stranger,
        scene(tmp_path) as guard,
    ):
        stranger.communicate("\n", timeout=10)
        (beside / "cgroup.procs").write_text(str(guard.worker.pid))
        [told] = guard.tampers(Trick.CGROUP)
        assert told.pid == guard.worker.pid


def test_born_outside(block: Scene, tmp_path: Path) -> None:
    """clone3 puts a child into another cgroup, and nobody moves it."""
    with cgroup.child() as beside:
        born = Clone(tmp_path).into(beside, "sh", "-c", "echo $$")
        child = int(block.run(*born).stdout)
        [told] = block.tampers(Trick.CGROUP)
        assert told.pid == child
        assert told.what.startswith(f"{beside.name}, by process ")


def test_born_deeper_is_still_inside(block: Scene, tmp_path: Path) -> None:
    below = block.group / "below"
    below.mkdir()
    assert block.run(*Clone(tmp_path).into(below, "true")).returncode == 0
    assert block.tampers(Trick.CGROUP) == []
