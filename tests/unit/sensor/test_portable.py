# SPDX-License-Identifier: MIT
"""The portable sensor's judgement, with processes, connections and DNS that are told to it.

That it really sees them is in ``tests/lab/test_portable.py``.
"""

from __future__ import annotations

import os
import select
from ipaddress import IPv4Network

import pytest

from leakstop.model.coverage import Loss
from leakstop.model.event import (
    Answer,
    Connect,
    Exec,
    Exit,
    Fork,
    ProcessSeen,
    Question,
    SecretHit,
    Started,
    StepSeen,
)
from leakstop.model.flow import Transport
from leakstop.model.verdict import Action, Carriage, Leak, Reason
from leakstop.policy.rules import Policy
from leakstop.sensor import portable, proc
from leakstop.sensor.connections import Connection
from unit.sensor.watching import (
    HOME_IP,
    OTHER_IP,
    PLACED,
    POLICY,
    RESOLVER,
    TOKEN,
    Watch,
    World,
)


@pytest.fixture
def world(monkeypatch) -> World:
    made = World()
    monkeypatch.setattr(portable.proc, "pids", lambda: iter(made.processes))
    monkeypatch.setattr(portable.proc, "read", lambda pid: made.processes.get(pid))
    monkeypatch.setattr(portable.proc, "environ", lambda pid: made.environ.get(pid, b""))
    monkeypatch.setattr(portable, "read_connections", lambda: list(made.connections))
    monkeypatch.setattr(portable.proc, "sockets", made.sockets)
    monkeypatch.setattr(portable.SockDiag, "inode", lambda _, *ends: made.inode(*ends))
    monkeypatch.setattr(portable, "open_wire", lambda: (made, ""))
    return made


@pytest.fixture
def watch(world):
    made: list[Watch] = []

    def start(**plan) -> Watch:
        made.append(Watch(world, **plan))
        return made[-1]

    yield start
    for item in made:
        item.sensor.close()


# --- life ------------------------------------------------------------------------------------


def test_it_begins_by_saying_what_it_cannot_see(world, watch):
    world.runs(10, "bash")
    started, *rest = watch(worker_pid=5).look()
    assert isinstance(started, Started)
    assert (started.sensor, started.worker_pid) == ("portable", 5)
    assert started.secrets == ("TOKEN", "PLACED")
    assert all(note.endswith(".") for note in started.notes) and len(started.notes) >= 3
    assert [type(event) for event in rest] == [ProcessSeen]


def test_without_packets_it_says_so(world, watch, monkeypatch):
    monkeypatch.setattr(portable, "open_wire", lambda: (None, "reading packets takes CAP_NET_RAW"))
    started = watch().look()[0]
    assert any("DNS was not seen" in note and "CAP_NET_RAW" in note for note in started.notes)


def test_it_can_be_closed_twice_and_before_it_starts(world, watch):
    sensor = watch().sensor
    sensor.close()
    sensor.close()
    assert sensor.fileno() == -1
    assert list(sensor.poll(0)) == []


def test_its_descriptor_tells_when_to_look(world, watch):
    sensor = watch().sensor
    list(sensor.poll(0))
    assert select.select([sensor], [], [], 5)[0]
    list(sensor.poll(0))
    assert not select.select([sensor], [], [], 0)[0]


def test_it_rests_after_a_look(world, watch):
    watching = watch()
    watching.look()
    watching.sensor._next_look_s = float("inf")
    world.runs(10, "bash")
    assert list(watching.sensor.poll(0)) == []


def test_what_is_heard_is_a_reason_for_a_glance_at_once(world, watch, monkeypatch):
    watching = watch()
    watching.look()
    rests: list[float] = []
    monkeypatch.setattr(portable.time, "sleep", rests.append)
    watching.sensor._next_look_s = float("inf")
    watching.sensor._next_glance_s = portable.time.monotonic() + 1000
    world.runs(10, "curl")
    world.asks("home.test")
    assert [type(event) for event in watching.sensor.poll(0)] == [Fork, Exec, Question]
    assert 999 < rests[0] <= 1000


def test_a_program_that_is_gone_before_the_next_look(world, watch):
    """It is caught while it speaks."""
    watching = watch()
    watching.look()
    watching.sensor._next_look_s = float("inf")
    world.runs(10, "curl", PLACED.value)
    world.connects(10, OTHER_IP)
    world.opens(OTHER_IP)
    _, _, connect = watching.sensor.poll(0)
    assert (connect.pid, connect.carriage) == (10, Carriage.FAIL)
    del world.processes[10]
    world.connections.clear()
    assert [type(event) for event in watching.look()] == [Exit]


def test_a_known_process_that_speaks_as_another_program(world, watch):
    """A look can come between fork and exec, when the secret is not there yet."""
    world.runs(10, "bash")
    watching = watch()
    watching.look()
    watching.sensor._next_look_s = float("inf")
    world.runs(10, "curl", PLACED.value)
    world.connects(10, OTHER_IP)
    world.opens(OTHER_IP)
    program, connect = watching.sensor.poll(0)
    assert isinstance(program, Exec) and program.exe == "/usr/bin/curl"
    assert (connect.pid, connect.carriage) == (10, Carriage.FAIL)


@pytest.mark.parametrize("start_ns", [10, 11])
def test_a_pid_that_speaks_is_not_taken_for_who_had_it_before(world, watch, start_ns):
    world.runs(10, "bash")
    watching = watch()
    watching.look()
    watching.sensor._next_look_s = float("inf")
    world.runs(10, *(["curl"] if start_ns == 11 else []), start_ns=start_ns)
    world.connects(10, OTHER_IP)
    world.opens(OTHER_IP)
    (connect,) = watching.sensor.poll(0)
    assert (connect.pid, connect.carriage) == (10, Carriage.NONE)


# --- processes -------------------------------------------------------------------------------


def test_a_process_is_born_and_ends(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "bash", "-c", "x")
    fork, program = watching.look()
    assert (fork.pid, fork.ppid) == (10, 1) and isinstance(fork, Fork)
    assert isinstance(program, Exec)
    assert (program.exe, program.argv, program.uid) == ("/usr/bin/bash", ("bash", "-c", "x"), 1000)
    assert watching.look() == []
    del world.processes[10]
    (ended,) = watching.look()
    assert isinstance(ended, Exit) and ended.pid == 10


def test_a_process_that_becomes_another_program(world, watch):
    watching = watch()
    world.runs(10, "bash")
    watching.look()
    world.runs(10, "curl", "https://x.test")
    (program,) = watching.look()
    assert isinstance(program, Exec) and program.argv == ("curl", "https://x.test")


def test_a_child_that_is_still_its_parents_program_is_only_a_fork(world, watch):
    world.runs(10, "bash")
    watching = watch()
    watching.look()
    world.runs(11, "bash", ppid=10)
    assert [type(event) for event in watching.look()] == [Fork]


def test_a_pid_that_is_used_again_is_another_process(world, watch):
    world.runs(10, "bash", start_ns=1)
    watching = watch()
    watching.look()
    world.runs(10, "bash", start_ns=2)
    assert [type(event) for event in watching.look()] == [Exit, Fork, Exec]


def test_kernel_threads_and_zombies_do_not_count(world, watch):
    world.runs(2)
    watching = watch()
    assert len(watching.look()) == 1
    world.runs(10, "bash")
    watching.look()
    world.processes[10] = proc.Process(10, 1, 1000, 10, "", ())
    assert [type(event) for event in watching.look()] == [Exit]


def test_only_descendants_are_watched_also_when_they_are_orphaned(world, watch):
    world.runs(10, "leakstop")
    world.runs(20, "elsewhere")
    watching = watch(root_pid=10)
    assert len(watching.look()) == 1
    world.runs(11, "bash", ppid=10)
    world.runs(12, "daemon", ppid=11)
    assert {event.pid for event in watching.look()} == {11, 12}
    del world.processes[11]
    world.runs(12, "daemon", ppid=1)
    assert {event.pid for event in watching.look()} == {11}


def test_what_the_client_asks_of_package_managers_is_not_the_commands(world, watch):
    """Its own child goes on as the same program, and the command becomes another one."""
    world.runs(10, "leakstop", "run", "make")
    world.runs(11, "leakstop", "run", "make", ppid=10)
    watching = watch(root_pid=10)
    world.runs(12, "npm", "config", "list", ppid=11)
    world.runs(13, "leakstop", "run", "make", ppid=10)
    world.processes[14] = proc.Process(14, 10, 0, 14, "", world.processes[13].argv)
    assert watching.look()[1:] == []
    world.runs(13, "make", ppid=10)
    world.runs(15, "npm", "install", ppid=13)
    assert [(event.pid, type(event)) for event in watching.look()] == [
        *[(13, Fork), (13, Exec)],
        *[(15, Fork), (15, Exec)],
    ]


def test_the_agent_does_not_watch_itself(world, watch):
    world.runs(os.getpid(), "leakstop")
    assert len(watch().look()) == 1


def test_a_child_of_the_worker_is_a_step(world, watch):
    watching = watch(worker_pid=5)
    watching.look()
    world.runs(10, "bash", ppid=5)
    world.environ[10] = b"GITHUB_ACTION=__run_2\0"
    world.runs(11, "curl", ppid=10)
    world.environ[11] = b"GITHUB_ACTION=forged\0"
    assert [(event.pid, event.step) for event in watching.look(StepSeen)] == [(10, "run 2")]


# --- secrets ---------------------------------------------------------------------------------


def test_a_secret_in_argv_is_found_and_not_shown(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "curl", "-H", b"Authorization: " + TOKEN.value, "")
    (program,) = watching.look(Exec)
    assert program.hits == (SecretHit("TOKEN", "raw"),)
    assert program.argv == ("curl", "-H", "Authorization: ***TOKEN***", "")
    assert TOKEN.value.decode() not in repr(watching.look())


def test_a_secret_of_a_process_that_was_there_already_counts(world, watch):
    world.runs(10, "curl", TOKEN.value)
    watching = watch()
    present = watching.look(ProcessSeen)
    assert present[0].argv == ("curl", "***TOKEN***")
    world.connects(10, OTHER_IP)
    (connect,) = watching.look(Connect)
    assert connect.hits == (SecretHit("TOKEN", "raw"),)


@pytest.mark.parametrize(
    ("secret", "name", "ip", "port", "leak", "expected"),
    [
        (PLACED, "home.test", HOME_IP, 443, Leak.KILL, Carriage.NONE),
        (PLACED, "named.test", OTHER_IP, 443, Leak.KILL, Carriage.FAIL),
        (PLACED, "", OTHER_IP, 443, Leak.KILL, Carriage.FAIL),
        (PLACED, "", OTHER_IP, 443, Leak.WARN, Carriage.FAIL),
        (PLACED, "", "127.0.0.1", 8000, Leak.KILL, Carriage.NONE),
        (TOKEN, "named.test", OTHER_IP, 443, Leak.KILL, Carriage.NOTE),
        (TOKEN, "unknown.test", OTHER_IP, 443, Leak.KILL, Carriage.WARN),
        (TOKEN, "", OTHER_IP, 443, Leak.KILL, Carriage.FAIL),
        (TOKEN, "unknown.test", OTHER_IP, 80, Leak.KILL, Carriage.FAIL),
    ],
)
def test_what_a_secret_on_the_way_means(world, watch, secret, name, ip, port, leak, expected):
    """The table of docs/secrets.md, but nothing can be killed: ``kill`` is ``fail``."""
    policy = Policy(leak=leak, rules=POLICY.rules, homes=POLICY.homes)
    watching = watch(policy=policy)
    watching.look()
    world.runs(10, "curl", secret.value)
    if name:
        world.asks(name)
        world.learns(name, ip)
    world.connects(10, ip, port)
    (connect,) = watching.look(Connect)
    assert (connect.carriage, connect.applied) == (expected, Action.ALLOW)


def test_the_worst_secret_decides(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "curl", TOKEN.value, PLACED.value)
    world.asks("named.test")
    world.learns("named.test", OTHER_IP)
    world.connects(10, OTHER_IP)
    assert watching.look(Connect)[0].carriage is Carriage.FAIL


@pytest.mark.parametrize("dotted", [False, True])
def test_a_secret_in_a_name_is_found_and_not_shown(world, watch, dotted):
    watching = watch()
    watching.look()
    value = TOKEN.value.decode()
    label = f"{value[:20]}.{value[20:]}" if dotted else value
    world.asks(f"{label}.collector.test")
    (question,) = watching.look(Question)
    assert question.in_name
    assert question.hits == (SecretHit("TOKEN", "raw"),)
    assert question.carriage is Carriage.FAIL
    assert not any(value[i : i + 8] in repr(question) for i in range(len(value) - 8))


# --- names and connections -------------------------------------------------------------------


def test_names_explain_connections_of_the_same_look(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "curl")
    world.asks("Home.Test")
    world.learns("Home.Test", HOME_IP)
    world.connects(10, HOME_IP)
    _, _, question, answer, connect = watching.look()
    assert (question.name, question.policy, question.reason) == (
        "home.test",
        Action.ALLOW,
        Reason.ALLOW_RULE,
    )
    assert isinstance(answer, Answer) and answer.addresses == (HOME_IP,)
    assert (connect.policy, connect.reason) == (Action.ALLOW, Reason.ALLOW_RULE)


def test_a_connection_that_nobody_named_is_denied_on_paper(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "curl")
    world.connects(10, OTHER_IP)
    (connect,) = watching.look(Connect)
    assert (connect.policy, connect.applied) == (Action.DENY, Action.ALLOW)
    assert connect.reason is Reason.NOT_NAMED


@pytest.mark.parametrize(
    "forgery",
    [
        {"resolver": OTHER_IP},  # somebody else answers
        {"port": 50001},  # a question that was not asked
        {"name": "named.test"},
    ],
)
def test_an_answer_that_was_not_asked_for_teaches_nothing(world, watch, forgery):
    watching = watch()
    watching.look()
    world.runs(10, "curl")
    world.asks("home.test")
    world.learns(**{"name": "home.test", "address": OTHER_IP, **forgery})
    world.connects(10, OTHER_IP)
    events = watching.look()
    assert not [event for event in events if isinstance(event, Answer)]
    assert events[-1].reason is Reason.NOT_NAMED


def test_a_resolver_of_the_programs_own_teaches_nothing(world, watch):
    """Whoever chooses who answers could give any address an allowed name."""
    watching = watch()
    watching.look()
    world.runs(10, "curl")
    world.asks("home.test", resolver=OTHER_IP)
    world.learns("home.test", OTHER_IP, resolver=OTHER_IP)
    world.connects(10, OTHER_IP)
    events = watching.look()
    assert not [event for event in events if isinstance(event, Answer)]
    assert events[-1].reason is Reason.NOT_NAMED


def test_an_answer_teaches_once(world, watch):
    watching = watch()
    watching.look()
    world.asks("home.test")
    world.learns("home.test", HOME_IP)
    world.learns("home.test", OTHER_IP)
    assert [event.addresses for event in watching.look(Answer)] == [(HOME_IP,)]


def test_of_many_names_of_an_address_the_latest_count(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "curl")
    for name in ("home.test", *(f"n{number}.test" for number in range(63)), "home.test"):
        world.asks(name)
        world.learns(name, OTHER_IP)
    world.connects(10, OTHER_IP)
    assert watching.look()[-1].reason is Reason.ALLOW_RULE
    for number in range(64):
        world.asks(f"more{number}.test")
        world.learns(f"more{number}.test", OTHER_IP)
    world.connects(10, OTHER_IP, local_port=40001)
    assert watching.look()[-1].reason is Reason.NOT_NAMED


def test_the_asker_is_who_holds_the_socket(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "dig")
    world.connections = [Connection(10, Transport.UDP, 50000, "", 0)]
    world.asks("home.test", port=50000)
    assert [event.pid for event in watching.look(Question)] == [10]


def test_asking_the_resolver_is_not_a_destination(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "curl", PLACED.value)
    world.connects(10, RESOLVER, 53)
    world.connects(10, OTHER_IP, 53, local_port=40001)
    ours, other = watching.look(Connect)
    assert (ours.policy, ours.reason, ours.carriage) == (
        Action.ALLOW,
        Reason.RESOLVER,
        Carriage.NONE,
    )
    assert other.policy is Action.DENY


def test_what_stays_on_the_machine_is_local(world, watch):
    watching = watch(local=(IPv4Network("198.51.100.0/24"),))
    watching.look()
    world.runs(10, "psql")
    world.connects(10, "198.51.100.3", 5432)
    assert watching.look(Connect)[0].reason is Reason.LOCAL


def test_connections_of_others_are_not_ours(world, watch):
    world.runs(10, "leakstop")
    world.runs(20, "elsewhere")
    watching = watch(root_pid=10)
    watching.look()
    world.connections = [Connection(20, Transport.UDP, 50000, "", 0)]
    world.asks("other.test")
    world.connects(20, OTHER_IP)
    world.opens(OTHER_IP)
    world.connects(0, OTHER_IP, local_port=40001)
    assert watching.look() == []


def test_a_connection_that_only_the_wire_saw_is_reported_once(world, watch):
    """Shorter than the pause between two looks, then in TIME_WAIT."""
    watching = watch()
    watching.look()
    world.opens(OTHER_IP)
    (connect,) = watching.look(Connect)
    assert (connect.pid, connect.ip, connect.port) == (0, OTHER_IP, 443)
    world.connects(0, OTHER_IP, 443)
    assert watching.look(Connect) == []


def test_a_connection_on_the_wire_belongs_to_who_holds_it(world, watch):
    watching = watch()
    watching.look()
    world.runs(10, "curl")
    world.opens(OTHER_IP)
    world.connects(10, OTHER_IP, 443)
    assert [connect.pid for connect in watching.look(Connect)] == [10]
    assert watching.look(Connect) == []


def test_lost_packets_are_counted(world, watch):
    watching = watch()
    watching.look()
    world.lost_packets = 3
    world.asks("home.test")
    assert [(event.where, event.count) for event in watching.look(Loss)] == [("packets", 3)]
