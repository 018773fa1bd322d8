# SPDX-License-Identifier: MIT
"""What a process gives to its TLS library: found wherever it stands, and judged by its place."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bpf.tls_plane import BARE, ELSEWHERE, HOME, NAMES, OTHER, Done, Plane, build, connect, plane
from lab.tls import Authority
from leakstop.model.channel import Library, Tie
from leakstop.model.event import SecretHit
from leakstop.model.verdict import Action, Carriage, Leak, Mode, Reason
from leakstop.policy.scopes import Scopes
from leakstop.sensor import older, seeds
from leakstop.sensor.load import uprobes

pytestmark = pytest.mark.root

KILLED = -signal.SIGKILL
ONE, TWO = 0x1000, 0x2000
"""Addresses of objects: nothing is read there."""
MIB = 1 << 20
GO_BASE = 0x400000
"""Where Go's linker puts the beginning of a file."""


@pytest.fixture(scope="module")
def library_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def audit(library_path: Path) -> Iterator[Plane]:
    with plane(library_path, Mode.AUDIT) as made:
        yield made


@pytest.fixture(scope="module")
def block(library_path: Path) -> Iterator[Plane]:
    with plane(library_path, Mode.BLOCK) as made:
        yield made


def assert_killed(done: Done, writes: int = 0) -> None:
    """The function never began with the secret in its hands."""
    assert (done.code, done.writes) == (KILLED, writes), done.said
    assert [(e.killed, e.applied, e.carriage) for e in done.found] == [
        (True, Action.DENY, Carriage.KILL)
    ]
    assert done.lost == {}


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (0, 0),
        (0, 5000),
        (4090, 0),
        (5000, 5000),
        (16 * 1024 - 10, 0),
        (64 * MIB, 0),
        (32 * MIB, 32 * MIB),
    ],
)
def test_wherever_the_secret_stands(audit: Plane, before: int, behind: int) -> None:
    done = audit.run(connect(ELSEWHERE), ("write", ONE, audit.token, before, behind))
    assert_killed(done)
    (found,) = done.found
    assert found.hits == (SecretHit("TOKEN", "raw"),)
    assert found.size == before + len(audit.token) + behind
    assert (found.ip, found.port, found.tie) == (ELSEWHERE, 443, Tie.FLOWS)
    assert (found.library, found.name) == (Library.OPENSSL, "")


def test_one_byte_at_a_time(audit: Plane) -> None:
    done = audit.run(connect(ELSEWHERE), ("bytes", ONE, "GET /?x=" + audit.token))
    assert_killed(done, writes=done.writes)
    assert 8 + 8 <= done.writes < 8 + len(audit.token)


@pytest.mark.parametrize("cut", [1, 5, 16, 31])
@pytest.mark.parametrize("before", [0, 10_000])
def test_over_two_writes(audit: Plane, cut: int, before: int) -> None:
    first, second = audit.token[:cut], audit.token[cut:]
    done = audit.run(
        connect(ELSEWHERE), ("write", ONE, first, before), ("write", ONE, second, 0, before)
    )
    assert_killed(done, writes=1)


def test_halves_for_two_objects_are_no_whole(audit: Plane) -> None:
    done = audit.run(
        connect(ELSEWHERE), ("write", ONE, audit.token[:16]), ("write", TWO, audit.token[16:])
    )
    assert (done.code, done.writes, done.found) == (0, 2, [])


def test_an_address_that_is_used_again_is_another_object(audit: Plane) -> None:
    done = audit.run(
        connect(ELSEWHERE),
        ("name", ONE, "first.test"),
        ("write", ONE, audit.token[:16]),
        ("free", ONE),
        ("write", ONE, audit.token[16:]),
    )
    assert (done.code, done.writes, done.found) == (0, 2, [])
    assert [event.name for event in done.seen] == ["first.test", ""]


def test_each_object_is_told_of_once(audit: Plane) -> None:
    done = audit.run(*(("write", at, "nothing") for at in (ONE, TWO, ONE, TWO)))
    assert [event.library for event in done.seen] == [Library.OPENSSL] * 2
    assert (done.code, done.writes, done.found, done.lost) == (0, 4, [], {})


def test_others_are_left_alone(audit: Plane) -> None:
    done = audit.run(("write", ONE, audit.token), guarded=False)
    assert (done.code, done.writes, done.events, done.plaintexts) == (0, 1, (), ())


# -- memory ---------------------------------------------------------------------------------


def test_a_file_that_was_never_read(audit: Plane) -> None:
    assert_killed(audit.run(connect(ELSEWHERE), ("mapped", ONE, audit.token)))


def test_what_cannot_be_read_is_counted(audit: Plane) -> None:
    done = audit.run(connect(ELSEWHERE), ("holed", ONE, "nothing"))
    assert (done.code, done.writes, done.found, done.lost) == (0, 1, [], {"writes": 1})


def test_what_stands_in_front_of_it_is_found(audit: Plane) -> None:
    done = audit.run(connect(ELSEWHERE), ("holed", ONE, audit.token))
    assert (done.code, done.writes, len(done.found), done.lost) == (KILLED, 0, 1, {"writes": 1})


def test_a_negative_size(audit: Plane) -> None:
    done = audit.run(connect(ELSEWHERE), ("negative", ONE, audit.token))
    assert (done.code, done.found, done.lost) == (0, [], {"writes": 1})


def test_more_than_an_int_holds(audit: Plane) -> None:
    """As Python's ssl module does it, with SSL_write_ex()."""
    done = audit.run(connect(ELSEWHERE), ("huge", ONE, audit.token, 1 << 31))
    assert_killed(done)


def test_threads(audit: Plane) -> None:
    done = audit.run(connect(ELSEWHERE), ("threads", ONE, audit.token, 4))
    assert (done.code, done.writes) == (KILLED, 0)


def test_without_memory_to_work_in(audit: Plane, block: Plane) -> None:
    with audit.no_memory():
        done = audit.run(connect(ELSEWHERE), ("write", ONE, audit.token))
    assert (done.code, done.writes, done.lost) == (0, 1, {"scratch": 1})
    with block.no_memory():
        done = block.run(connect(HOME), ("write", ONE, "nothing"))
    assert (done.code, done.writes, done.lost) == (KILLED, 0, {"scratch": 1})
    assert block.run(("write", ONE, "nothing")).code == 0


# -- destinations ---------------------------------------------------------------------------


def test_to_its_home(audit: Plane, block: Plane) -> None:
    for guard in (audit, block):
        done = guard.run(connect(HOME), ("write", ONE, guard.token))
        assert (done.code, done.writes, done.found, done.lost) == (0, 1, [], {})


def test_on_this_machine(audit: Plane) -> None:
    done = audit.run(connect("127.0.0.1"), ("write", ONE, audit.token))
    assert (done.code, done.writes, done.found) == (0, 1, [])


@pytest.mark.parametrize("door", [[connect("127.0.0.1")], []], ids=["loopback", "pipe"])
def test_through_a_relay_on_this_machine(audit: Plane, door: list[tuple[object, ...]]) -> None:
    """The relay shows the name that the client's hello has; it may be a home's."""
    for address in (HOME, ELSEWHERE):
        audit.run(connect(address))
        done = audit.run(*door, ("name", ONE, NAMES[address]), ("write", ONE, audit.token))
        if address == HOME:
            assert (done.code, done.writes, done.found) == (0, 1, [])
            continue
        assert_killed(done)
        (found,) = done.found
        assert (found.ip, found.port, found.tie) == (ELSEWHERE, 443, Tie.NAME)
    done = audit.run(*door, ("name", ONE, "local.test"), ("write", ONE, audit.token))
    assert (done.code, done.writes) == (0, 1), "a server of this machine"


def test_to_nobody(block: Plane) -> None:
    done = block.run(("write", ONE, block.token))
    assert (done.code, done.writes) == (0, 1)
    (found,) = done.found
    assert (found.tie, found.ip, found.port) == (Tie.NONE, "", 0)
    assert (found.policy, found.applied, found.reason) == (
        Action.ALLOW,
        Action.ALLOW,
        Reason.LOCAL,
    )
    assert found.carriage is Carriage.NONE


def test_the_worst_of_all_connections(audit: Plane) -> None:
    for order in ((HOME, ELSEWHERE), (ELSEWHERE, HOME)):
        done = audit.run(*map(connect, order), ("write", ONE, audit.token))
        assert_killed(done)
        assert (done.found[0].ip, done.found[0].tie) == (ELSEWHERE, Tie.FLOWS)


@pytest.mark.parametrize("step", ["name", "name_gnutls", "name_nss"])
def test_the_name_tells_the_connection(audit: Plane, step: str) -> None:
    """Capital letters and a dot at the end do not make it another one."""
    both = (connect(HOME), connect(ELSEWHERE))
    done = audit.run(*both, (step, ONE, "API.home.test."), ("write", ONE, audit.token))
    assert (done.code, done.writes, done.found) == (0, 1, [])
    done = audit.run(*both, (step, ONE, NAMES[ELSEWHERE]), ("write", ONE, audit.token))
    assert_killed(done)
    (found,) = done.found
    assert (found.ip, found.tie, found.name) == (ELSEWHERE, Tie.NAME, NAMES[ELSEWHERE])


def test_nspr_writes_files_with_the_same_function(library_path: Path) -> None:
    with plane(library_path, Mode.AUDIT, kind=Library.NSS) as guard:
        done = guard.run(connect(ELSEWHERE), ("write", ONE, guard.token))
        assert (done.code, done.writes, done.found, done.seen) == (0, 1, [], [])
        named = ("name_nss", ONE, NAMES[ELSEWHERE])
        done = guard.run(connect(ELSEWHERE), named, ("write", ONE, guard.token))
    assert_killed(done)
    assert done.found[0].library is Library.NSS


def test_a_name_that_no_connection_shows(audit: Plane) -> None:
    done = audit.run(
        connect(HOME),
        connect(ELSEWHERE),
        ("name", ONE, "nobody.test"),
        ("write", ONE, audit.token),
    )
    assert_killed(done)
    assert (done.found[0].ip, done.found[0].tie) == (ELSEWHERE, Tie.FLOWS)


def test_an_accepted_connection(audit: Plane) -> None:
    done = audit.run(("accept", OTHER, 8443, ELSEWHERE), ("write", ONE, audit.token))
    assert_killed(done)
    assert (done.found[0].ip, done.found[0].tie) in {(ELSEWHERE, Tie.FLOWS), (OTHER, Tie.FLOWS)}


@pytest.mark.parametrize("holder", ["service", "suspect", "unknown"])
def test_a_connection_from_before_the_guard(audit: Plane, holder: str, tmp_path: Path) -> None:
    """What a service of the machine had open goes on; of anybody else it is an address, no more."""
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    steps: list[Sequence[object]] = [
        connect(ELSEWHERE),
        ("join", str(audit.group)),
        ("meet", here, there),
        ("write", ONE, audit.token),
    ]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(audit.run, *steps, guarded=False)
        while not Path(here).exists():
            assert not running.done(), running.result()
        if holder != "unknown":
            worker = os.getpid() if holder == "suspect" else 0
            seeds.sow(audit.opened, Scopes(()), worker, audit.group)
            older.note_sockets(audit.opened)
        Path(there).touch()
        done = running.result()
    if holder == "service":
        assert (done.code, done.writes, done.found) == (0, 1, [])
    else:
        assert_killed(done)
        assert (done.found[0].ip, done.found[0].port) == (ELSEWHERE, 443)


@pytest.mark.parametrize(
    ("address", "carriage"),
    [(OTHER, Carriage.NOTE), (ELSEWHERE, Carriage.WARN), (BARE, Carriage.KILL)],
)
def test_an_unplaced_secret_in_audit(audit: Plane, address: str, carriage: Carriage) -> None:
    write = ("write", ONE, audit.loose)
    done = audit.run(connect(address), write, write)
    assert [event.carriage for event in done.found] == [carriage], "the same is told once"
    assert (done.code, done.writes) == ((KILLED, 0) if carriage is Carriage.KILL else (0, 2))


def test_an_unplaced_secret_in_block(block: Plane) -> None:
    assert_killed(block.run(connect(OTHER), ("write", ONE, block.loose)))


def test_when_a_leak_only_fails_the_job(library_path: Path) -> None:
    with plane(library_path, Mode.AUDIT, Leak.FAIL) as guard:
        done = guard.run(connect(ELSEWHERE), ("write", ONE, guard.token))
    assert (done.code, done.writes) == (0, 1)
    (found,) = done.found
    assert (found.carriage, found.applied, found.killed) == (Carriage.FAIL, Action.ALLOW, False)


# -- a library in use -----------------------------------------------------------------------


def openssl() -> Path:
    """The library that this Python uses."""
    assert ssl.OPENSSL_VERSION
    maps = Path("/proc/self/maps").read_text()
    return Path(next(line.split()[-1] for line in maps.splitlines() if "/libssl" in line))


def serve(listener: socket.socket) -> bytes:
    """What the next client sends in its TLS connection, until it is gone."""
    context = Authority().server_context([HOME])
    listener.settimeout(10)
    sock, _ = listener.accept()
    got = bytearray()
    with sock, suppress(OSError), context.wrap_socket(sock, server_side=True) as channel:
        channel.settimeout(10)
        while b"END" not in got and (data := channel.recv(65536)):
            got += data
    return bytes(got)


@pytest.mark.parametrize("mode", Mode)
def test_openssl(mode: Mode) -> None:
    with plane(openssl(), mode) as guard, ThreadPoolExecutor(1) as pool:
        text = f"GET /?q={guard.token} HTTP/1.1 END"
        for address, passes in ((HOME, True), (OTHER, False)):
            got = pool.submit(serve, guard.listeners[address])
            done = guard.run(("tls", address, 443, NAMES[address], text))
            assert got.result() == (text.encode() if passes else b"")
            assert [event.name for event in done.seen] == [NAMES[address]]
            if passes:
                assert (done.code, done.found) == (0, []), done.said
            else:
                assert_killed(done)
                assert (done.found[0].tie, done.found[0].name) == (Tie.NAME, NAMES[address])


@pytest.fixture(scope="module")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A program in Go, and where its crypto/tls writes."""
    program = tmp_path_factory.mktemp("go") / "client"
    source = Path(__file__).with_name("tls_client.go")
    subprocess.run(["go", "build", "-o", program, source], check=True, timeout=300)
    table = subprocess.run(
        ["go", "tool", "nm", program], capture_output=True, text=True, check=True
    )
    line = next(x for x in table.stdout.splitlines() if x.endswith(" crypto/tls.(*Conn).Write"))
    return program, int(line.split()[0], 16) - GO_BASE


@pytest.mark.parametrize(("first", "second"), [(HOME, ELSEWHERE), (ELSEWHERE, HOME)])
def test_go(library_path: Path, go_client: tuple[Path, int], first: str, second: str) -> None:
    """Of two connections that show the same name, the one that is written to counts."""
    program, offset = go_client
    cookie = list(Library).index(Library.GO)
    with ExitStack() as cleanup:
        guard = cleanup.enter_context(plane(library_path, Mode.AUDIT))
        for probe in uprobes(guard.opened).attach("on_go_write", program, [offset], cookie):
            cleanup.callback(probe.close)
        pool = cleanup.enter_context(ThreadPoolExecutor(2))
        got, _ = (pool.submit(serve, guard.listeners[each]) for each in (first, second))
        command = [str(program), NAMES[HOME], f"{first}:443", f"{second}:443"]
        done = guard.execute(command, f"{guard.token} END")
        assert [event.library for event in done.seen] == [Library.GO]
        if first == HOME:
            assert (done.code, done.found) == (0, []), done.said
            assert got.result() == f"{guard.token} END".encode()
        else:
            assert_killed(done)
            assert got.result() == b""
            (found,) = done.found
            assert (found.ip, found.tie, found.library) == (first, Tie.SOCKET, Library.GO)


# -- copies ---------------------------------------------------------------------------------


def test_the_first_bytes_are_handed_on(audit: Plane) -> None:
    done = audit.run(
        ("write", ONE, "one", 10_000), ("write", TWO, "two"), ("write", ONE, "end", 70_000)
    )
    texts = {ONE: bytearray(), TWO: bytearray()}
    for place, offset, text in done.plaintexts:
        assert offset == len(texts[place])
        texts[place] += text
    whole = b"." * 10_000 + b"one" + b"." * 70_000
    assert (texts[ONE], texts[TWO]) == (whole[:65_536], b"two")


def test_no_copies(library_path: Path) -> None:
    with plane(library_path, Mode.AUDIT, copy=0) as guard:
        done = guard.run(connect(ELSEWHERE), ("write", ONE, guard.token, 5000))
    assert_killed(done)
    assert done.plaintexts == ()
