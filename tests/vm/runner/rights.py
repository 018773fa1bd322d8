# SPDX-License-Identifier: MIT
"""A job whose policy takes sudo and Docker from its user, with the real ones."""

from __future__ import annotations

from e2e.acting import ACTION
from vm.runner.machine import Job, Machine, once
from vm.runner.traces import nothing

_ASK = """\
sudo -n id -u || echo "sudo ended with $?"
curl -sS --unix-socket /run/docker.sock http://docker/_ping || echo "curl ended with $?"
"""
_GROUPS = 'id -nG "$(id -nu)"'
"""Those that a new login would have."""
_LOCKED = f"""
- uses: {ACTION}
  with:
    policy: |
      version: 1
      mode: block
      allow: home.test
      lockdown: [sudo, docker]
- id: asked
  run: |
    {_ASK.strip().replace(chr(10), chr(10) + "    ")}
- id: groups
  run: {_GROUPS}
- id: named
  run: curl -sS -m 20 https://home.test/
"""


@once
def locked(machine: Machine) -> tuple[Job, str]:
    """The job, and what its user may do when it is over."""
    job = machine.run(_LOCKED)
    return job, machine.said(f"{_ASK} echo; {_GROUPS}")


def check_lockdown_takes_sudo_and_the_docker_socket(machine: Machine) -> bool:
    """Also from processes that have been in the group since before."""
    outcome = locked(machine)[0].outcome
    said = outcome.said("Main", "asked")
    return "sudo ended with 1" in said and "curl ended with 7" in said


def check_lockdown_takes_the_docker_group(machine: Machine) -> bool:
    groups = locked(machine)[0].outcome.said("Main", "groups").split()
    return "runner" in groups and "docker" not in groups


def check_a_job_without_rights_ends_like_any_other(machine: Machine) -> bool:
    """Nor is what the guard itself changed a finding."""
    outcome = locked(machine)[0].outcome
    named = outcome.said("Main", "named")
    return not outcome.red and named == "ok\n" and outcome.annotations() == []


def check_what_lockdown_took_is_given_back(machine: Machine) -> bool:
    sudo, docker, groups = locked(machine)[1].splitlines()
    return (sudo, docker) == ("0", "OK") and "docker" in groups.split()


def check_lockdown_leaves_nothing(machine: Machine) -> bool:
    return nothing(locked(machine)[0].left)
