# SPDX-License-Identifier: MIT
"""The runner's job hooks with the real sudo, which is allowed nothing but the shipped rule."""

from __future__ import annotations

import pwd
import shutil
import subprocess
from pathlib import Path

from lab.network import BARE
from vm.runner.machine import Machine, once
from vm.runner.traces import left, nothing, traces

_HOOKS = Path("/opt/leakstop/agent/self-hosted")
_SUDOERS = Path("/etc/sudoers.d/leakstop")
_POLICY = Path("/etc/leakstop/policy.yml")
_USER = "builder"
_WORKER = f"""
bash -e {_HOOKS}/job-started.sh; echo "started: $?"
bash -e "$0"; echo "step: $?"
bash -e {_HOOKS}/job-completed.sh; echo "completed: $?"
"""
_STEP = f"""
id -u
sudo -n id -u || echo "no other command"
sudo -n {_HOOKS}/guard completed --force || echo "no other word"
curl -sS -m 20 https://home.test/
curl -sS -m 20 http://{BARE}/ || echo refused
systemctl list-units --plain --no-legend 'leakstop-*.service'
"""


@once
def said(machine: Machine) -> tuple[str, set[str]]:
    """What a job printed, and what it left."""
    subprocess.run(["useradd", "--create-home", _USER], check=True)
    for name in ("agent", "policies"):
        shutil.copytree(Path("/leakstop", name), _HOOKS.parents[1] / name)
    rule = (_HOOKS / "sudoers").read_text().replace("runner ALL", f"{_USER} ALL")
    _SUDOERS.write_text(rule)
    _SUDOERS.chmod(0o440)
    subprocess.run(["visudo", "--check", "--quiet", "--file", str(_SUDOERS)], check=True)
    _POLICY.parent.mkdir()
    _POLICY.write_text("version: 1\nmode: block\nallow: home.test\n")
    step = Path(pwd.getpwnam(_USER).pw_dir, "step.sh")
    step.write_text(_STEP)
    before = traces()
    worker = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--"]
    done = subprocess.run(
        [*worker, "bash", "-c", _WORKER, str(step)],
        env={"PATH": "/usr/bin:/bin", "CURL_CA_BUNDLE": "/leakstop/ca.pem"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    machine.log = done.stdout
    return done.stdout, left(before)


def check_the_hooks_guard_a_job_and_their_exit_code_is_its(machine: Machine) -> bool:
    text, _ = said(machine)
    codes = [line for line in text.splitlines() if line.startswith(("started:", "completed:"))]
    return (
        codes == ["started: 0", "completed: 11"]
        and "\nok\n" in text
        and "\nrefused\n" in text
        and f"denied: {BARE}" in text
        and machine.internet.collector.connections == []
    )


def check_sudo_is_for_the_hooks_alone(machine: Machine) -> bool:
    text, _ = said(machine)
    return "\nno other command\n" in text and "\nno other word\n" in text


def check_the_hooks_leave_nothing(machine: Machine) -> bool:
    return nothing(said(machine)[1])
