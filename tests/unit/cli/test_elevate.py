# SPDX-License-Identifier: MIT
"""What the hook does as root: from where it runs code, and what it says when that fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from leakstop.cli import elevate
from leakstop.cli.elevate import Place
from leakstop.daemon.request import ArmRequest
from leakstop.errors import ExitCode, LeakstopError, PolicyError, UnsupportedError

PACKAGE = Path(elevate.__file__).parents[1]


@pytest.mark.root
def test_root_runs_a_copy_that_only_root_can_write() -> None:
    place = elevate.prepare_place()
    try:
        assert place.is_roots
        for path in (place.code.parent, *place.code.rglob("*")):
            found = path.stat()
            assert (found.st_uid, found.st_mode & 0o022) == (0, 0), path
            assert found.st_mode & 0o004, "everybody may read it: post runs it as the job's user"
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-B", place.code / "__main__.py", "--version"],
            capture_output=True,
            text=True,
        )
        assert done.stdout.startswith("leakstop "), done.stderr
        assert not place.run_dir.exists(), "it is the agent's to make"
    finally:
        elevate.clean_up(place, sweep=False)
    assert not place.code.parent.exists()


def test_without_root_the_code_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(elevate, "_SUDO", "/nonexistent/sudo")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    place = elevate.prepare_place()
    assert (place.code, place.is_roots) == (PACKAGE, False)
    assert place.run_dir.is_relative_to(tmp_path)


@pytest.mark.parametrize(("allowed", "prefix"), [(True, "sudo"), (False, None)])
def test_sudo_is_used_where_it_asks_for_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: bool, prefix: str | None
) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(f"#!/bin/sh\n[ \"$*\" = '-n -- /bin/true' ] && exit {0 if allowed else 1}\n")
    sudo.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(elevate, "_SUDO", str(sudo))
    found = elevate._root_prefix()
    assert found == ((str(sudo), "-n", "--") if prefix else None)


def test_root_runs_no_interpreter_of_somebody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.touch()
    if os.geteuid() == 0:
        os.chown(python, 4242, 4242)
    monkeypatch.setattr(elevate.sys, "executable", str(python))
    place = Place(Path("/run/leakstop/job-x"), Path("/run/leakstop/code-x/leakstop"))
    with pytest.raises(UnsupportedError, match=r"older than 3\.10"):
        elevate.start_agent(place, ArmRequest(policy=b""))


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (
            3,
            "leakstop: a.yml:3:5: error: what\n   = why\n   = fix\n",
            ("what", "why", "fix", "a.yml:3:5", ExitCode.POLICY),
        ),
        (4, "leakstop: error: what\n   = fix", ("what", "", "fix", "", ExitCode.UNSUPPORTED)),
        (1, "sudo: a password is required", ("sudo: a password is required", "", "", "", 1)),
        (127, "", ("exit code 127", "", "", "", ExitCode.INTERNAL)),
        (0o377, "x", ("x", "", "", "", ExitCode.INTERNAL)),
    ],
)
def test_what_another_process_said_becomes_its_error_again(
    code: int, said: str, expected: tuple[str, str, str, str, int]
) -> None:
    error = elevate._failure(code, said)
    assert (error.what, error.why, error.fix, error.where, int(error.exit_code)) == expected


def test_an_error_survives_the_way_through_a_process() -> None:
    error = PolicyError("what", why="why", fix="fix", where="a.yml:3:5")
    again = elevate._failure(int(error.exit_code), f"leakstop: {error}")
    assert str(again) == str(error)
    assert (again.what, again.why, again.fix) == ("what", "why", "fix")


def test_a_program_that_is_not_there_is_said() -> None:
    with pytest.raises(LeakstopError, match="/nonexistent could not be run"):
        elevate._run(["/nonexistent"])
