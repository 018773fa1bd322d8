# SPDX-License-Identifier: MIT
"""Whose a process is that was born elsewhere, or that has the number of one that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import Lab, cgroup
from lab.clones import Clone
from lab.network import BARE, HOME, OTHER
from lab.steps import Job, job, python

pytestmark = pytest.mark.root

RULES = f"""\
allow:
  - {{ip: 'tcp://{BARE}:80', step: publish}}
  - 'tcp://{HOME[0]}:80'
"""
TRY = """
import os, socket, sys
print(os.getpid(), flush=True)
try:
    socket.create_connection((sys.argv[1], 80), 5).close()
except OSError as error:
    sys.exit(error.errno)
"""
EPERM = 1


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def group_of(job: Job) -> Path:
    """The guarded cgroup."""
    for line in Path(f"/proc/{job.worker.pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return cgroup.mount_point() / line.removeprefix("0::").lstrip("/")
    raise LookupError("the worker is in no cgroup v2")


def from_outside(lab: Lab, command: list[str]) -> int:
    """Run a command that is not of the job; its exit code."""
    return lab.popen(command).wait(30)


# -- born in a cgroup of one's choice -------------------------------------------------------


def test_a_child_that_is_born_deeper_is_its_parents(lab: Lab, clone: Clone) -> None:
    with job(lab, RULES) as guarded:
        below = group_of(guarded) / "below"
        below.mkdir()
        for step, code in (("build", EPERM), ("publish", 0)):
            done = guarded.step(step, *clone.into(below, *python(TRY, BARE)))
            assert done.code == code, (step, done.out)
    assert {(flow["step"], flow["applied"]) for flow in guarded.report["flows"]} == {
        ("build", "deny"),
        ("publish", "allow"),
    }


def test_a_child_of_a_strangers_that_is_born_inside_is_guarded_and_nobodys(
    lab: Lab, clone: Clone
) -> None:
    with job(lab, RULES) as guarded:
        assert guarded.step("publish", "true").code == 0
        codes = {
            address: from_outside(lab, clone.into(group_of(guarded), *python(TRY, address)))
            for address in (BARE, HOME[0], OTHER[0])
        }
    assert codes == {BARE: EPERM, HOME[0]: 0, OTHER[0]: EPERM}
    assert {(flow["ip"], flow["step"]) for flow in guarded.report["flows"]} == {
        (address, "") for address in codes
    }


def test_a_child_that_is_born_outside_is_a_finding(lab: Lab, clone: Clone) -> None:
    with cgroup.child() as beside, job(lab, RULES) as guarded:
        done = guarded.step("build", *clone.into(beside, *python(TRY, BARE)))
        assert done.code == 0, "nobody judges it there"
    found = [each for each in guarded.report["findings"] if each["id"] == "left-the-guard"]
    assert [each["step"] for each in found] == ["build"]
    assert beside.name in str(found)


# -- born with the number of another --------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("build", "publish"), ("publish", "build")])
def test_who_has_the_number_of_an_earlier_process_has_a_step_of_his_own(
    lab: Lab, clone: Clone, first: str, second: str
) -> None:
    with job(lab, RULES) as guarded:
        earlier = guarded.python(first, TRY, BARE)
        number = int(earlier.out.split()[0])
        later = guarded.step(second, *clone.numbered(number, *python(TRY, BARE)))
        assert int(later.out.split()[0]) == number, later.out
        assert {first: earlier.code, second: later.code} == {"build": EPERM, "publish": 0}
    flows = {(flow["step"], flow["process"]["pid"]) for flow in guarded.report["flows"]}
    assert flows == {(first, number), (second, number)}


MOVES = "import sys; open(sys.argv[2], 'w').write('0')\n"


@pytest.mark.parametrize("left", [False, True], ids=["in the guard", "where it went"])
def test_who_comes_with_the_number_of_a_steps_process_has_nothing_of_it(
    lab: Lab, clone: Clone, left: bool
) -> None:
    """Also if that one ended where nobody watched."""
    with cgroup.child() as beside, job(lab, RULES) as guarded:
        where = (beside if left else group_of(guarded)) / "cgroup.procs"
        earlier = guarded.python("publish", TRY + MOVES, BARE, where)
        assert earlier.code == 0, earlier.out
        number = int(earlier.out.split()[0])
        stranger = clone.numbered(number, *python(TRY, BARE), group=group_of(guarded))
        assert from_outside(lab, stranger) == EPERM
    assert ("", "deny") in {(flow["step"], flow["applied"]) for flow in guarded.report["flows"]}
