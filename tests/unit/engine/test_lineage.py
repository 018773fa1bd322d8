# SPDX-License-Identifier: MIT
"""Who started whom, through everything that processes do to hide it."""

from __future__ import annotations

import pytest

from leakstop.engine.lineage import Lineage, brief, shorten
from leakstop.model.container import ContainerSeen
from leakstop.model.event import Event, Exec, Exit, Fork, ProcessSeen, StepSeen
from leakstop.model.process import ProcessView
from leakstop.model.report import StepView
from story import MS, execs, exits, fork, running, started, step

WORKER = 100


def lineage(*events: Event, scope: str = "machine", limit: int = 1000) -> Lineage:
    """A table that has seen these events."""
    made = Lineage(limit)
    made.begin(started(worker_pid=WORKER, scope=scope))
    take = {
        Fork: made.forked,
        Exec: made.became,
        Exit: made.ended,
        ProcessSeen: made.seen,
        StepSeen: made.step_began,
        ContainerSeen: made.contained,
    }
    for event in events:
        take[type(event)](event)  # type: ignore[operator]
    return made


def job(*events: Event) -> Lineage:
    """A worker with a shell that is the step Build, and what happens then."""
    return lineage(
        running(WORKER, 1, "Runner.Worker"),
        fork(110, WORKER),
        execs(110, "bash"),
        step(110, "Build"),
        *events,
    )


def test_a_fork_is_what_its_parent_is_until_it_becomes_another_program() -> None:
    table = job(fork(120, 110))
    assert table.view(120) == ProcessView(
        120, "/usr/bin/bash", ("bash",), False, ("/usr/bin/bash",)
    )
    table.became(execs(120, "curl", "curl", "-s"))
    assert table.view(120) == ProcessView(
        120, "/usr/bin/curl", ("curl", "-s"), False, ("/usr/bin/bash",)
    )


def test_ancestry_ends_below_the_worker() -> None:
    table = job(fork(120, 110), execs(120, "make"), fork(130, 120), execs(130, "curl"))
    assert table.view(130).ancestry == ("/usr/bin/make", "/usr/bin/bash")
    assert table.view(110).ancestry == ()


@pytest.mark.parametrize(
    ("scope", "above"),
    [("command", ("/usr/bin/leakstop",)), ("machine", ("/usr/bin/leakstop", "/usr/bin/zsh"))],
)
def test_ancestry_of_a_guarded_command_ends_with_who_started_it(
    scope: str, above: tuple[str, ...]
) -> None:
    table = lineage(
        running(60, 50, "leakstop"),
        running(50, 40, "zsh"),
        fork(70, 60),
        running(70, 60, "leakstop"),
        execs(70, "sh"),
        fork(80, 70),
        execs(80, "curl"),
        scope=scope,
    )
    assert table.view(80).ancestry == ("/usr/bin/sh", *above)


def test_a_double_fork_whose_middle_ends_stays_in_the_family() -> None:
    table = job(
        fork(120, 110),
        fork(130, 120),
        exits(120),
        exits(110),
        execs(130, "curl", ppid=1),
    )
    assert table.view(130).ancestry == ("/usr/bin/bash", "/usr/bin/bash")
    assert table.step_of(130).name == "Build"


def test_a_process_outlives_its_exit() -> None:
    table = job(fork(120, 110), execs(120, "curl"), exits(120))
    assert table.view(120).exe == "/usr/bin/curl"
    assert table.step_of(120).name == "Build"


def test_ancestors_are_shown_as_they_were() -> None:
    table = job(fork(120, 110), execs(110, "innocent"), execs(120, "curl"))
    assert table.view(120).ancestry == ("/usr/bin/bash",)


def test_a_reused_pid_is_another_process() -> None:
    table = job(
        fork(120, 110),
        execs(120, "curl"),
        fork(121, 120),
        exits(120),
        fork(200, WORKER),
        execs(200, "sh"),
        fork(120, 200),
    )
    assert table.view(120).exe == "/usr/bin/sh"
    assert table.step_of(120).name == ""
    # The child of the first one keeps it as its parent.
    assert table.view(121).ancestry == ("/usr/bin/curl", "/usr/bin/bash")


def test_an_exec_with_another_start_is_a_process_whose_fork_was_lost() -> None:
    table = job(fork(120, 110, start_ns=1_000 * MS))
    table.became(execs(120, "curl", ppid=999, start_ns=2_000 * MS))
    assert table.start_of(120) == 2_000 * MS
    assert table.step_of(120).name == ""
    assert table.view(120).ancestry == ()


def test_an_exec_after_an_exit_is_another_process() -> None:
    table = job(fork(120, 110), exits(120), execs(120, "curl", ppid=999))
    assert table.step_of(120).name == ""


def test_start_times_from_proc_are_rounded_to_ticks() -> None:
    table = lineage(
        running(50, 1, "node", start_ns=1_230 * MS),
        execs(50, "npm", start_ns=1_234 * MS + 567, ppid=1),
    )
    assert (table.view(50).exe, len(table)) == ("/usr/bin/npm", 2)
    assert table.start_of(50) == 1_230 * MS


def test_an_unknown_process_has_its_number_and_no_step() -> None:
    table = lineage()
    assert table.view(7) == ProcessView(7, "")
    assert (table.step_of(7).name, table.start_of(7), len(table)) == ("", 0, 0)


def test_a_child_may_be_seen_before_its_parent() -> None:
    table = lineage(running(60, 50, "curl"), running(50, 40, "bash"), running(40, WORKER, "sh"))
    assert table.view(60).ancestry == ("/usr/bin/bash", "/usr/bin/sh")


def test_what_an_exec_told_is_not_undone_by_a_later_look() -> None:
    table = lineage(fork(60, 50), execs(60, "curl", "curl", "-s"), running(60, 50, "old"))
    assert table.view(60).argv == ("curl", "-s")


def test_a_look_fills_in_a_fork_and_leaves_its_parent_alone() -> None:
    table = lineage(running(50, 40, "bash"), fork(60, 50), running(60, 50, "curl"))
    assert (table.view(60).exe, table.view(50).exe) == ("/usr/bin/curl", "/usr/bin/bash")


def test_parents_in_a_circle_are_no_endless_loop() -> None:
    table = lineage(running(3, 2, "a"), running(2, 3, "b"))
    assert len(table.view(2).ancestry) == 32


def test_each_child_of_the_worker_is_a_step_of_its_own() -> None:
    table = job(fork(200, WORKER), execs(200, "node"), fork(210, 200))
    assert table.step_of(210).name == ""
    table.step_began(step(200, "Test"))
    assert (table.step_of(210).name, table.step_of(110).name) == ("Test", "Build")


def test_steps_are_told_in_the_order_in_which_they_began() -> None:
    table = job(fork(200, WORKER), fork(300, WORKER), fork(400, WORKER))
    place = ".github/workflows/ci.yml:7"
    table.step_began(StepSeen(0, 300, "Test", ("Test", "test"), "runner log", place))
    table.step_began(StepSeen(0, 200, "Docs", (), "environment"))
    table.step_began(step(400, "Test"))  # a composite has several children
    assert table.steps == (
        StepView("Build"),
        StepView("Test", place, "runner log", ("Test", "test")),
        StepView("Docs", "", "environment"),
    )
    assert table.step_of(300).names == ("Test", "test")


def test_a_step_may_begin_below_another_process() -> None:
    table = job(fork(120, 110), step(120, "Inner"), fork(130, 120))
    assert (table.step_of(130).name, table.step_of(110).name) == ("Inner", "Build")


def test_a_step_of_an_unknown_process_is_kept_for_its_children() -> None:
    table = lineage(step(300, "Early"), fork(310, 300))
    assert table.step_of(310).name == "Early"


def test_the_table_is_bounded_and_forgets_what_ended_first() -> None:
    table = lineage(fork(10, 1), execs(10, "bash"), limit=50)
    for pid in range(1000, 1200):
        table.forked(fork(pid, 10))
        table.ended(exits(pid))
    assert len(table) == 50
    assert table.view(10).exe == "/usr/bin/bash"
    assert table.view(1000).exe == ""
    assert table.view(1199).ancestry == ("/usr/bin/bash",)


def test_those_that_ended_have_a_smaller_share_of_the_table() -> None:
    table = Lineage(limit=1000, ended=20)
    table.forked(fork(10, 1))
    table.became(execs(10, "bash"))
    for pid in range(1000, 1200):
        table.forked(fork(pid, 10))
        table.ended(exits(pid))
    assert len(table) == 20 + 2, "with their parent and its own"
    known = [pid for pid in range(1000, 1200) if table.view(pid).ancestry]
    assert known == list(range(1180, 1200))


def test_living_processes_are_forgotten_only_when_nothing_else_is_left() -> None:
    table = lineage(*(fork(pid, 9) for pid in range(10, 30)), limit=10)
    assert len(table) == 10
    assert table.view(29).pid == 29


def test_a_long_chain_of_forks_keeps_its_step_and_frees_its_dead() -> None:
    table = job()
    parent = 110
    for pid in range(1000, 4000):
        table.forked(fork(pid, parent))
        table.ended(exits(parent))
        parent = pid
    assert len(table) <= 1000
    assert table.step_of(parent).name == "Build"
    assert table.view(parent).ancestry == ("/usr/bin/bash",) * 32
    # What has left the table holds on to nobody: the chain is not kept alive by its end.
    process = table._find(parent)
    length = 0
    while process is not None:
        process, length = process.parent, length + 1
    assert length <= 1001


def test_long_command_lines_are_cut_once_there_are_many() -> None:
    table = lineage()
    for pid in range(200, 300):
        table.forked(fork(pid, 9))
        table.became(execs(pid, "sh", "sh", str(pid) * 40_000))
    assert table.view(299).argv == ("sh", "299" * 40_000)
    oldest = table.view(200)
    assert oldest.truncated
    assert sum(map(len, oldest.argv)) == 1024


@pytest.mark.parametrize(
    ("argv", "limit", "kept"),
    [
        ((), 5, ()),
        (("ab", "cd"), 5, ("ab", "cd")),
        (("ab", "cdef", "g"), 5, ("ab", "cde")),
        (("abcdef", "g"), 5, ("abcde",)),
    ],
)
def test_shorten(argv: tuple[str, ...], limit: int, kept: tuple[str, ...]) -> None:
    assert shorten(argv, limit) == kept


def test_brief_leaves_a_short_command_line_alone() -> None:
    short = ProcessView(1, "/usr/bin/sh", ("sh", "-c"))
    assert brief(short) is short
    cut = brief(ProcessView(1, "/usr/bin/sh", ("x" * 5000,), ancestry=("/a",)))
    assert (cut.argv, cut.truncated, cut.ancestry) == (("x" * 1024,), True, ("/a",))


def test_a_process_known_as_a_parent_learns_of_its_own_when_it_execs() -> None:
    table = lineage(running(5, 1, "init"), fork(20, 10), execs(10, "bash", ppid=5))
    assert table.view(10).ancestry == ("/usr/bin/init",)


def test_services_of_the_machine_are_not_the_job() -> None:
    lineage = Lineage()
    lineage.begin(started(worker_pid=50))
    for pid, ppid, exe in (
        (1, 0, "/sbin/init"),
        (20, 1, "/usr/lib/snapd/snapd"),
        (30, 1, "/usr/bin/dockerd"),
        (40, 1, "/opt/runner/Runner.Listener"),
        (50, 40, "/opt/runner/Runner.Worker"),
    ):
        lineage.seen(ProcessSeen(0, pid, ppid, exe, (exe,)))
    for pid, ppid in ((21, 20), (31, 30), (51, 50), (52, 51)):
        lineage.forked(Fork(1, pid, ppid))
    assert [pid for pid in (20, 21, 40) if not lineage.is_service(pid)] == []
    assert [pid for pid in (30, 31, 50, 51, 52, 99) if lineage.is_service(pid)] == []


def test_without_a_worker_everything_is_the_job() -> None:
    lineage = Lineage()
    lineage.begin(started())
    lineage.seen(ProcessSeen(0, 20, 1, "/usr/sbin/cron", ("cron",)))
    assert not lineage.is_service(20)


# -- containers ---------------------------------------------------------------------------

ENGINE, CLIENT = 50, 120
BOX = "0123456789abcdef"


def boxed(*events: Event, asker: int = CLIENT) -> Lineage:
    """A step whose client asks the engine for a container, whose first process is 200."""
    return job(
        running(ENGINE, 1, "dockerd"),
        fork(CLIENT, 110),
        execs(CLIENT, "docker"),
        fork(200, ENGINE),
        ContainerSeen(0, 200, BOX, asker=asker),
        fork(210, 200),
        execs(210, "curl"),
        *events,
    )


def test_what_runs_in_a_container_is_of_the_step_that_asked_for_it() -> None:
    table = boxed()
    assert table.step_of(210).name == "Build"
    assert table.is_of_job(210)
    assert table.view(210).ancestry[-2:] == ("/usr/bin/docker", "/usr/bin/bash")


def test_a_container_is_called_by_its_id_until_its_name_is_known() -> None:
    table = boxed()
    assert table.view(210).container == BOX[:12]
    table.contained(ContainerSeen(0, 200, BOX, name="db", image="postgres:16", asker=CLIENT))
    assert table.view(210).container == "db (postgres:16)"
    assert table.view(CLIENT).container == ""
    assert table.step_of(200).name == "Build"


def test_a_container_that_nobody_asked_for_is_of_no_step() -> None:
    table = boxed(asker=0)
    assert table.step_of(210).name == ""
    assert table.step_of(210) is not table.step_of(ENGINE)
    assert not table.is_service(210)


def test_who_is_let_in_by_another_step_is_of_no_step() -> None:
    late = ContainerSeen(0, 300, BOX, first=False)
    table = boxed(fork(300, ENGINE), late)
    assert table.step_of(300).name == ""
    assert table.step_of(210).name == "Build"


def test_who_goes_into_a_container_by_himself_stays_whose_he_was() -> None:
    """Podman's containers are children of the step; root can move a process into any."""
    other = (fork(130, 100), StepSeen(0, 130, "Other"), fork(300, 130))
    stays = ContainerSeen(0, 300, BOX, first=False, stays=True)
    table = boxed(*other, stays, fork(310, 300))
    assert table.step_of(310).name == "Other"
    assert table.view(310).container == BOX[:12]
    assert table.step_of(210).name == "Build"


def test_and_takes_the_container_from_nobody() -> None:
    stays = ContainerSeen(0, 111, BOX, stays=True)
    table = job(fork(CLIENT, 110), fork(111, 1), fork(200, ENGINE), stays)
    table.contained(ContainerSeen(0, 200, BOX, asker=CLIENT))
    assert table.step_of(200).name == "Build"


def test_a_container_stays_its_steps_when_its_askers_number_is_given_again() -> None:
    again = (exits(CLIENT), fork(CLIENT, ENGINE, 9 * MS), fork(220, ENGINE))
    table = boxed(*again, ContainerSeen(0, 220, BOX, asker=CLIENT))
    assert table.step_of(220).name == "Build"
