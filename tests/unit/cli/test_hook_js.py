# SPDX-License-Identifier: MIT
"""hook.js: which program a phase starts, with which environment, and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.act  # which needs node, too

HOOK = Path(__file__).resolve().parents[3] / "agent" / "hook"
PROGRAM = """\
import json, os, sys
with open(os.environ["HOME"] + "/seen", "w") as file:
    json.dump({"code": NAME, "argv": sys.argv[1:], "flags": [sys.flags.isolated,
        sys.dont_write_bytecode], "environ": dict(os.environ), "python": sys.executable}, file)
sys.exit(CODE)
"""
HOSTILE = {
    "LD_PRELOAD": "",
    "LD_LIBRARY_PATH": "/evil",
    "PYTHONPATH": "/evil",
    "PYTHONSTARTUP": "/evil",
    "BASH_ENV": "/evil",
    "ENV": "/evil",
    "NODE_EXTRA_CA_CERTS": "/evil",
    "GCONV_PATH": "/evil",
}


class Action:
    """A copy of the hook with programs that say how they were started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hook = directory / "agent" / "hook"
        shutil.copytree(HOOK, self.hook)
        self.place("agent/leakstop", "checkout")

    def place(self, path: str, name: str, code: int = 0) -> str:
        """Put a program there; ``main`` of ``code`` returns."""
        folder = self.directory / path
        folder.mkdir(parents=True, exist_ok=True)
        text = PROGRAM.replace("NAME", repr(name)).replace("CODE", str(code))
        (folder / "__main__.py").write_text(text)
        return str(folder)

    def run(self, phase: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a phase as the runner does."""
        return subprocess.run(
            ["node", str(self.hook / f"{phase}.js")],
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory), **HOSTILE, **environ},
            text=True,
            capture_output=True,
            timeout=20,
        )

    @property
    def seen(self) -> dict[str, object]:
        """How the program was started."""
        found: dict[str, object] = json.loads((self.directory / "seen").read_text())
        return found


@pytest.fixture
def action(tmp_path: Path) -> Action:
    return Action(tmp_path)


@pytest.mark.parametrize("phase", ["pre", "main", "post"])
def test_each_entry_is_its_phase(action: Action, phase: str) -> None:
    assert action.run(phase).returncode == 0
    seen = action.seen
    assert seen["argv"] == ["hook", phase]
    assert seen["flags"] == [1, True], "isolated, and it leaves no bytecode behind"
    assert Path(str(seen["python"])).is_absolute()


@pytest.mark.parametrize("phase", ["pre", "main"])
def test_before_the_job_the_users_settings_count(action: Action, phase: str) -> None:
    action.run(phase, PIP_INDEX_URL="https://index.test/", INPUT_MODE="block")
    environ = action.seen["environ"]
    assert isinstance(environ, dict)
    assert environ["PIP_INDEX_URL"] == "https://index.test/"
    assert environ["INPUT_MODE"] == "block"
    assert not HOSTILE.keys() & environ.keys()


def test_after_the_job_nothing_of_the_jobs_counts(action: Action) -> None:
    action.run("post", PIP_INDEX_URL="x", INPUT_MODE="x", ANYTHING="x", STATE_key="k", PATH_="x")
    environ = action.seen["environ"]
    assert isinstance(environ, dict)
    environ.pop("LC_CTYPE", None)  # Python's own
    assert set(environ) == {"PATH", "HOME", "STATE_key"}
    assert str(action.directory) not in environ["PATH"]
    assert "/usr/bin" in environ["PATH"].split(":")


def test_post_runs_the_copy_that_the_state_names(action: Action) -> None:
    copy = action.place("root/leakstop", "copy")
    action.place("agent/leakstop", "overwritten by the job")
    action.run("post", STATE_code=copy, STATE_python=sys.executable)
    assert (action.seen["code"], action.seen["python"]) == ("copy", sys.executable)


def test_main_does_not_look_at_the_state(action: Action) -> None:
    action.run("main", STATE_code=action.place("other", "other"), STATE_python="/bin/false")
    assert action.seen["code"] == "checkout"


@pytest.mark.parametrize("code", [1, 3, 12])
def test_the_exit_code_is_passed_on(action: Action, code: int) -> None:
    action.place("agent/leakstop", "checkout", code)
    assert action.run("main").returncode == code


def test_a_copy_that_is_gone_is_red(action: Action) -> None:
    assert action.run("post", STATE_code="/nonexistent").returncode != 0


def test_an_interpreter_that_is_gone_is_red_and_said(action: Action) -> None:
    done = action.run("post", STATE_python="/nonexistent")
    assert done.returncode == 1
    assert (
        "::error title=Leakstop%3A the guard's own step failed::post ended with ENOENT"
        in done.stdout
    )


def test_the_hook_is_small_and_needs_nothing() -> None:
    text = (HOOK / "hook.js").read_text()
    assert len(text.splitlines()) < 100
    assert text.count("require(") == text.count('require("node:') == 2
