# SPDX-License-Identifier: MIT
"""For whom a host is open: the runner's own to the runner alone, and a denial says to whom else."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest

from lab import Lab
from lab.steps import Job, job

pytestmark = pytest.mark.root

SERVICE = "pipelines.actions.githubusercontent.com"
ADDRESS = "203.0.113.80"
ACCOUNTS = [f"productionresultssa{number}.blob.core.windows.net" for number in range(21)]
RATION = 4

STEP = """
import json, socket, subprocess, sys
def reach(host):
    try:
        socket.create_connection((host, 443), 5).close()
    except socket.gaierror:
        return "no name"
    except PermissionError:
        return "denied"
    return "ok"
"""
WORKER = f"""{STEP}
for line in sys.stdin:
    hosts = json.loads(line)
    own = [reach(host) for host in hosts]
    program = {STEP!r} + "print(json.dumps([reach(host) for host in sys.argv[1:]]))"
    step = subprocess.run([sys.executable, "-c", program, *hosts], stdout=subprocess.PIPE)
    print(json.dumps([own, json.loads(step.stdout)]), flush=True)
"""
AS_TOLD = (sys.executable, "-c", WORKER)


@pytest.fixture
def service(lab: Lab) -> None:
    lab.serve(SERVICE, [ADDRESS])
    for host in ACCOUNTS:
        lab.dns.zone[host] = [ADDRESS]


def reach(guarded: Job, hosts: Sequence[str]) -> tuple[list[str], list[str]]:
    """What becomes of tries to reach ``hosts``: the worker's own, then a step's."""
    assert guarded.worker.stdin is not None and guarded.worker.stdout is not None
    print(json.dumps(hosts), file=guarded.worker.stdin, flush=True)
    own, step = json.loads(guarded.worker.stdout.readline())
    return own, step


@pytest.mark.usefixtures("service")
def test_the_runners_own_hosts_are_the_runners_own(lab: Lab) -> None:
    with job(lab, "allow: home.test\n", worker=AS_TOLD) as guarded:
        # By its address, which the runner's question has opened, a step gets there neither.
        own, step = reach(guarded, [SERVICE, ACCOUNTS[0], ADDRESS])
    assert own == ["ok", "ok", "ok"]
    assert step == ["no name", "no name", "denied"]
    by_runner = [flow for flow in guarded.report["flows"] if flow["via"] == "runner"]
    assert by_runner and {flow["applied"] for flow in by_runner} == {"allow"}
    denied = [flow for flow in guarded.report["flows"] if flow["applied"] == "deny"]
    assert {flow["host"] for flow in denied} == {SERVICE, ACCOUNTS[0]}
    assert "disagree" not in str(guarded.report["coverage"]["notes"])


@pytest.mark.usefixtures("service")
def test_steps_keep_artifacts_where_the_server_says(lab: Lab) -> None:
    with job(lab, "allow: github\n", worker=AS_TOLD) as guarded:
        own, step = reach(guarded, [SERVICE, *ACCOUNTS[:RATION]])
        assert own == step == ["ok"] * (1 + RATION)
        for hosts in (ACCOUNTS[RATION : RATION + 1], ACCOUNTS[20:]):
            assert reach(guarded, hosts) == (["no name"], ["no name"])
    assert "disagree" not in str(guarded.report["coverage"]["notes"])


def test_a_denial_says_to_whom_the_host_is_allowed(lab: Lab) -> None:
    with job(lab, "allow: {host: other.test, step: publish}\n") as guarded:
        guarded.step("build", "curl", "-sS", "-m", "5", "https://other.test/")
    others = f"step `publish` ({lab.directory}/scoped.yml:3)"
    assert [flow["only_for"] for flow in guarded.report["flows"]] == [others]
    (finding,) = guarded.report["findings"]
    assert finding["what_to_do"].startswith(f"The policy allows it only for {others}.")
