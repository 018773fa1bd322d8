# SPDX-License-Identifier: MIT
"""Who a process was to the kernel, from the events that tell of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakstop.engine.lineage import Lineage
from leakstop.engine.owners import Owners
from leakstop.model.container import ContainerSeen
from leakstop.model.event import Event, Exec, Exit, Fork, ProcessSeen, Started, StepSeen
from leakstop.model.flow import Who
from leakstop.model.process import Tag
from leakstop.model.verdict import Mode

NOBODY = Who(steps=None, process="", container=None)
STEP = Tag.STEPS + 3
NS = 1_000_000_000
BEGAN = Started(0, 0.0, "kernel", Mode.BLOCK, "machine", "sha256:0", (), worker_pid=2)
CURL = "/usr/bin/curl"


def ran(pid: int, program: str, tag: int = STEP, **more: object) -> Exec:
    event = Exec(1, pid, 2, 0, program, (), 0, truncated=False, tag=tag, program=program)
    return replace(event, **more)  # type: ignore[arg-type]


def owners(*events: Event, sensor: str = "kernel") -> Owners:
    lineage = Lineage()
    made = Owners(lineage)
    for event in (replace(BEGAN, sensor=sensor), *events):
        made.see(event)
    return made


PUBLISH = (Fork(0, 10, 2, tag=STEP), ran(10, CURL), StepSeen(5, 10, "Publish", ("Publish", "p")))


def test_a_process_is_its_steps_and_its_programs() -> None:
    assert owners(*PUBLISH).who(10) == Who(steps=("Publish", "p"), process=CURL)


def test_a_fork_is_who_its_parent_is_until_it_becomes_another_program() -> None:
    made = owners(*PUBLISH, Fork(6, 11, 10, tag=STEP))
    assert made.who(11) == made.who(10)
    made.see(ran(11, "/usr/bin/node"))
    assert made.who(11) == Who(steps=("Publish", "p"), process="/usr/bin/node")


def test_what_nobody_has_told_of_is_nobody() -> None:
    made = owners(Fork(0, 10, 3))
    assert made.who(10) == made.who(99) == NOBODY


@pytest.mark.parametrize(
    ("tag", "who"),
    [
        (Tag.RUNNER, Who(process=CURL, runner=True)),
        (Tag.MACHINE, Who(process=CURL, runner=True)),
        (Tag.ENGINE, Who(process=CURL)),
        (Tag.JOB, Who(process=CURL)),
        (STEP, Who(process=CURL)),
    ],
)
def test_what_ran_before_and_what_has_no_name_yet(tag: int, who: Who) -> None:
    made = owners(ProcessSeen(0, 10, 1, CURL, (), tag=tag))
    assert made.who(10) == who
    assert made.relays(10) == (tag in (Tag.MACHINE, Tag.ENGINE))


@pytest.mark.parametrize(
    "event",
    [ran(10, CURL, unlinked=True), ProcessSeen(0, 10, 1, f"{CURL} (deleted)", (), tag=STEP)],
)
def test_a_program_without_a_file_is_not_known(event: Event) -> None:
    assert owners(event).who(10).process == ""


def test_a_container_is_not_known_until_it_has_its_names() -> None:
    made = owners(*PUBLISH, ContainerSeen(6, 10, "ab12", asker=9))
    assert made.who(10).container is None
    made.see(Fork(7, 11, 10, tag=STEP))
    made.see(ContainerSeen(8, 10, "ab12", "db", "postgres:16", ("postgres:16", "db")))
    assert made.who(10).container == made.who(11).container == ("postgres:16", "db")


def test_whose_step_is_not_known_is_known_by_its_container() -> None:
    names = ("moby/buildkit", "builder")
    seen = ContainerSeen(6, 10, "ab12", "builder", "moby/buildkit:v1", names)
    made = owners(ran(10, CURL, tag=Tag.UNKNOWN), seen)
    assert made.who(10) == Who(steps=None, process=CURL, container=names)


def test_a_name_may_reach_the_kernel_after_the_flow() -> None:
    names = ("postgres:16", "db")
    made = owners(*PUBLISH, ContainerSeen(2 * NS, 10, "ab12", "db", "postgres:16", names))
    assert made.who_before(10, NS // 2).steps == ()
    assert made.who_before(10, 2 * NS).steps == ("Publish", "p")
    assert made.who_before(10, 2 * NS).container is None
    assert made.who_before(10, 4 * NS) == made.who(10)


def test_who_has_ended_is_known_for_a_while_and_its_number_is_given_again() -> None:
    made = owners(*PUBLISH, Exit(6, 10, 0))
    assert made.who(10).steps == ("Publish", "p")
    made.see(Fork(7, 10, 3, tag=Tag.JOB))
    assert made.who(10).steps == ()


def test_the_ended_are_forgotten_but_for_some_and_not_who_has_their_number() -> None:
    made = owners(*PUBLISH, Exit(6, 10, 0), Fork(7, 10, 3, tag=Tag.JOB))
    for pid in range(100, 100 + 5000):
        made.see(Fork(8, pid, 2, tag=STEP))
        made.see(Exit(9, pid, 0))
    assert made.who(100) == NOBODY and made.who(5099).steps == ("Publish", "p")
    assert made.who(10) == Who(process="")


def test_each_guard_gives_its_own_tags() -> None:
    made = owners(*PUBLISH, BEGAN, Fork(9, 12, 2, tag=STEP))
    assert made.who(10) == NOBODY
    assert made.who(12).steps == ()


def test_without_the_kernel_nobody_gives_tags() -> None:
    assert owners(Fork(0, 10, 2), sensor="portable").who(10) == Who(steps=(), process="")
