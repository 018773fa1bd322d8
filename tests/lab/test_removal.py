# SPDX-License-Identifier: MIT
"""What a guard puts on a machine, it takes away again, to the last object in the kernel."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from lab import Lab, cgroup
from lab.machine import machine

pytestmark = pytest.mark.root

_OBJECT = re.compile(r"^(link|prog|map)_id:\s+(\d+)$", re.MULTILINE)
_LISTS = (("tc", "qdisc", "show"), ("ip", "-o", "link"), ("ip", "rule"), ("nft", "list", "ruleset"))


def objects(pid: int) -> set[tuple[str, str]]:
    """Links, programs and maps that a process holds, by kind and id. Ids are not given twice."""
    found = set[tuple[str, str]]()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.update(_OBJECT.findall(path.read_text()))
    return found


def agents_of(lab: Lab) -> list[int]:
    """The agent and its supervisor: the processes in the lab that hold such objects."""
    return [pid for pid in lab.job.processes() if objects(pid)]


def held_by(agents: list[int]) -> set[tuple[str, str]]:
    """All that they hold."""
    return {found for pid in agents for found in objects(pid)}


def living(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that the kernel still has."""
    kinds = {kind for kind, _ in found}
    there = {
        (kind, str(item["id"]))
        for kind in kinds
        for item in json.loads(said("bpftool", "--json", kind, "show"))
    }
    return found & there


def assert_gone(found: set[tuple[str, str]]) -> None:
    """The kernel frees them behind a grace period of its own."""
    deadline = time.monotonic() + 5
    while left := living(found):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def alone(lab: Lab) -> None:
    """What other tests mount on the machine meanwhile does not come in."""
    lab.job.call(lambda: subprocess.run(["mount", "--make-rprivate", "/"], check=True))


def places(lab: Lab) -> set[str]:
    """Mounts, cgroups, processes, and what is at the interfaces of the job's namespace."""
    mounts = lab.job.call(lambda: Path("/proc/thread-self/mountinfo").read_text())
    lists = [lab.job.call(partial(said, *command)) for command in _LISTS]
    groups = cgroup.current().rglob(f"leakstop-test-{os.getpid()}-*")
    return {
        # Other tests mount below directories of their own, meanwhile.
        *(line for line in mounts.splitlines() if str(lab.directory) in line),
        *(line for text in lists for line in text.splitlines()),
        *(str(path) for group in groups for path in (group, *group.rglob("*")) if path.is_dir()),
        *(f"process {pid}" for pid in lab.job.processes()),
    }


def test_after_stop_links_maps_mounts_and_cgroups_are_as_before(lab: Lab) -> None:
    before = places(lab)
    with machine(lab, mode="block", allow=["home.test"]) as guarded:
        assert guarded.run("curl", "-sS", "https://home.test/") == "ok\n"
        agents = agents_of(lab)
        held = held_by(agents)
        assert {kind for kind, _ in held} == {"link", "prog", "map"}
        assert living(held) == held
        there = places(lab) - before
        assert [place for place in there if " - bpf " in place], "else nothing could be left"
        assert {f"process {pid}" for pid in agents} <= there and str(guarded.group) in there
        assert guarded.stop() == 0
        assert_gone(held)
    assert places(lab) == before


def test_after_stop_nothing_is_left_of_an_agent_that_was_killed_either(lab: Lab) -> None:
    before = places(lab)
    with machine(lab, mode="block", allow=["home.test"]) as guarded:
        agents = agents_of(lab)
        held = held_by(agents)
        for pid in agents:
            os.kill(pid, signal.SIGKILL)
        assert guarded.stop() != 0, "whatever killed it, the job is red"
        assert_gone(held)
    assert places(lab) == before
