# SPDX-License-Identifier: MIT
"""What a job does that has become root: it reaches for the worker and for the guard.

``$PPID`` of a step's shell is act itself, which is the worker here.
"""

from __future__ import annotations

from e2e.acting import ACTION, Outcome
from vm.runner.machine import Job, Machine, once
from vm.runner.traces import nothing

_UNIT = """\
unit=$(systemctl list-units --plain --no-legend 'leakstop-*.service' | cut -d ' ' -f 1)
    pid=$(systemctl show "$unit" -p MainPID --value)"""
_STRANGER = 'curl -sS -m 20 https://other.test/ || echo "curl ended with $?"'
_ATTACKED = f"""
- uses: {ACTION}
  with: {{mode: block, allow: home.test}}
- id: reader
  run: |
    sudo -n python3 -c "open('/proc/$PPID/mem','rb')" || echo "reader: $?"
- id: signal
  run: |
    {_UNIT}
    sudo -n sh -c "kill -STOP $pid" || echo "kill: $?"
- id: unit
  run: |
    {_UNIT}
    sudo -n systemctl kill "$unit"; echo "systemctl: $?"
- id: clock
  run: sudo -n date -s "@$(date +%s)"
- id: after
  run: |
    {_STRANGER}
"""
_STOPPED = f"""
- uses: {ACTION}
  with: {{mode: block, allow: home.test}}
- id: unit
  run: |
    {_UNIT}
    sudo -n systemctl stop "$unit" || echo "systemctl: $?"
- id: after
  run: |
    {_STRANGER}
"""


@once
def attacked(machine: Machine) -> Job:
    """A job that reads the worker's memory, and sends signals to the guard."""
    return machine.run(_ATTACKED)


@once
def stopped(machine: Machine) -> Job:
    """A job that has systemd stop the guard."""
    return machine.run(_STOPPED)


def _found(outcome: Outcome, detector: str, what: str) -> bool:
    """Whether a finding about ``what`` fails the job."""
    found = [
        (each["id"], each["destination"], each["failing"]) for each in outcome.record("finding")
    ]
    return outcome.red and (detector, what, True) in found


def check_who_reads_the_worker_is_killed(machine: Machine) -> bool:
    outcome = attacked(machine).outcome
    killed = "reader: 137" in outcome.said("Main", "reader")
    return killed and _found(outcome, "runner-read", "the memory of the runner's worker")


def check_a_signal_at_the_guard_is_denied(machine: Machine) -> bool:
    outcome = attacked(machine).outcome
    denied = "kill: 1" in outcome.said("Main", "signal")
    return denied and _found(outcome, "guard-attacked", "SIGSTOP at Leakstop's own process")


def check_a_signal_that_systemd_sends_for_the_job_is_told(machine: Machine) -> bool:
    """And the guard does not end for it."""
    outcome = attacked(machine).outcome
    (run,) = outcome.record("run")
    sent = "systemctl: 0" in outcome.said("Main", "unit") and not run["coverage"]["agent_died"]
    return sent and _found(outcome, "guard-attacked", "SIGTERM at Leakstop's own process")


def check_who_sets_the_clock_is_told(machine: Machine) -> bool:
    found = attacked(machine).outcome.record("finding")
    return [each["step"] for each in found if each["id"] == "clock-set"] == ["clock"]


def check_an_attacked_guard_goes_on(machine: Machine) -> bool:
    said = attacked(machine).outcome.said("Main", "after")
    return "curl ended with" in said and machine.internet.other.connections == []


def check_an_attacked_guard_leaves_nothing(machine: Machine) -> bool:
    return nothing(attacked(machine).left)


def check_when_systemd_stops_the_guard_the_job_is_red(machine: Machine) -> bool:
    """What systemd starts to end, it ends; what happened until then is told."""
    outcome = stopped(machine).outcome
    (run,) = outcome.record("run")
    lost = run["coverage"]["agent_died"] and not run["coverage"]["complete"]
    return lost and _found(outcome, "guard-attacked", "SIGTERM at Leakstop's own process")


def check_what_a_stopped_guard_denied_stays_denied(machine: Machine) -> bool:
    said = stopped(machine).outcome.said("Main", "after")
    return "curl ended with" in said and machine.internet.other.connections == []


def check_a_stopped_guard_leaves_nothing(machine: Machine) -> bool:
    return nothing(stopped(machine).left)
