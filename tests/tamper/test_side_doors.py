# SPDX-License-Identifier: MIT
"""T70, T75: ways to the guard and to the runner's worker that are none of the usual calls."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults.scene import wait_until
from lab import cgroup
from leakstop.bpf.ids import object_id
from leakstop.bpf.values import Protected
from leakstop.model.tamper import Trick
from leakstop.sensor.protected import protect
from tamper.scene import KILLED, Scene

pytestmark = pytest.mark.root

BPF = """
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, layout, *values):
    attr = bytearray(128)
    struct.pack_into(layout, attr, 0, *values)
    return libc.syscall(321, command, bytes(attr), len(attr))
def instruction(code, to=0, of=0, at=0, value=0):
    return struct.pack("<BBhi", code, of << 4 | to, at, value)
table = bpf(14, "<I", int(sys.argv[1]))  # BPF_MAP_GET_FD_BY_ID
"""
SOCKET_FILTER = """
program = b"".join((
    instruction(0x62, 10, 0, -8, os.getpid()), instruction(0x72, 10, 0, -16, 1),
    instruction(0x18, 1, 1, 0, table), instruction(0),
    instruction(0xbf, 2, 10), instruction(0x07, 2, 0, 0, -8),
    instruction(0xbf, 3, 10), instruction(0x07, 3, 0, 0, -16), instruction(0xb7, 4),
    instruction(0x85, 0, 0, 0, 2), instruction(0xb7), instruction(0x95)))
code = ctypes.create_string_buffer(program, len(program))
licence = ctypes.create_string_buffer(b"GPL")
where = ctypes.addressof(code), ctypes.addressof(licence)
loaded = bpf(5, "<IIQQ", 1, len(program) // 8, *where)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
theirs.setsockopt(socket.SOL_SOCKET, 50, loaded)  # SO_ATTACH_BPF
ours.send(b"goes through it")
"""
"""An ordinary program that writes its process into the table of those who are protected."""
TABLE_OF_TABLES = """
outer = bpf(0, "<6I", 12, 4, 4, 1, 0, table)  # BPF_MAP_TYPE_ARRAY_OF_MAPS
key, value = ctypes.c_uint32(0), ctypes.c_uint32(table)
put = bpf(2, "<IIQQQ", outer, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
assert put == 0, ctypes.get_errno()
"""
QUEUED = """
import ctypes, struct, sys
number, code = int(sys.argv[2]), int(sys.argv[3])
info = struct.pack("<iii", number, 0, code).ljust(128, bytes(1))
assert ctypes.CDLL(None).syscall(129, int(sys.argv[1]), number, info) == 0  # rt_sigqueueinfo
"""
BY_FILE = """
import fcntl, os, socket, sys
ours, theirs = socket.socketpair()
fcntl.fcntl(ours, fcntl.F_SETOWN, int(sys.argv[1]))
fcntl.fcntl(ours, 10, int(sys.argv[2]))  # F_SETSIG
fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
theirs.send(b"something to read")
"""
SI_TIMER, SI_ASYNCNL = -2, -60


def table(scene: Scene, name: str) -> int:
    assert scene.sensor._object is not None
    return object_id(scene.sensor._object.map(name).fd)


def test_a_table_in_an_ordinary_programs_hands(block: Scene) -> None:
    """A socket filter is nobody's business, unless it makes its process one of the guard's."""
    done = block.python(BPF + SOCKET_FILTER, table(block, "protected"))
    assert done.returncode == 0, done.stderr
    [told] = block.tampers(Trick.BPF)
    assert (told.what, told.route) == ("the guard's protected", "BPF_PROG_LOAD")
    assert block.tampers(Trick.PROGRAMS) == []


def test_a_table_within_a_table(block: Scene) -> None:
    """A program would find it there, and have it in its hands without naming it."""
    done = block.python(BPF + TABLE_OF_TABLES, table(block, "owners"))
    assert done.returncode == 0, done.stderr
    [told] = block.tampers(Trick.BPF)
    assert (told.what, told.route) == ("the guard's owners", "BPF_MAP_UPDATE_ELEM")


def test_a_table_of_tables_of_the_jobs_own(block: Scene) -> None:
    own = BPF + 'table = bpf(0, "<6I", 2, 4, 8, 1, 0, 0)\n' + TABLE_OF_TABLES
    done = block.python(own, table(block, "owners"))
    assert done.returncode == 0, done.stderr
    assert block.tampers(Trick.BPF) == []


@pytest.mark.parametrize("code", [SI_TIMER, SI_ASYNCNL])
def test_a_signal_that_passes_for_the_kernels(block: Scene, code: int) -> None:
    """rt_sigqueueinfo(2) lets its caller say where a signal comes from."""
    done = block.python(QUEUED, block.other_agent.pid, int(signal.SIGSTOP), code)
    assert done.returncode == 0, done.stderr
    [told] = block.tampers(Trick.SIGNAL)
    assert told.what == "SIGSTOP at Leakstop's own process" and told.pid


@pytest.mark.parametrize("number", [0, signal.SIGSTOP])
def test_a_signal_that_a_file_sends(block: Scene, number: int) -> None:
    """F_SETOWN with somebody else's number; without F_SETSIG it is SIGIO, which ends a process."""
    block.python(BY_FILE, block.other_agent.pid, int(number))
    [told] = block.tampers(Trick.SIGNAL)
    name = signal.Signals(number or signal.SIGIO).name
    assert (told.what, told.pid) == (f"{name} at Leakstop's own process", 0)


def test_a_file_that_makes_the_worker_dump_its_memory(block: Scene) -> None:
    block.python(BY_FILE, block.worker.pid, int(signal.SIGQUIT))
    [told] = block.tampers(Trick.SIGNAL)
    assert told.what == "SIGQUIT at the runner's worker"


def test_files_that_send_harmless_signals(block: Scene) -> None:
    """The worker's own, and those of others."""
    block.python(BY_FILE, block.worker.pid, int(signal.SIGURG))
    own = BY_FILE.replace("import fcntl", "import signal; signal.signal(29, print)\nimport fcntl")
    block.python(own.replace("int(sys.argv[1])", "os.getpid()"), 0, 0)
    assert block.tampers() == []


@pytest.mark.parametrize(
    ("option", "whom", "what"),
    [
        ("--cpu=9:10", "worker", "RLIMIT_CPU of the runner's worker"),
        ("--core=unlimited", "worker", "RLIMIT_CORE of the runner's worker"),
        ("--nofile=3:4", "other_agent", "RLIMIT_NOFILE of Leakstop's own process"),
    ],
)
def test_limits_of_others(block: Scene, option: str, whom: str, what: str) -> None:
    """Beyond its time the kernel makes a process dump its memory; without files it is blind."""
    pid = getattr(block, whom).pid
    assert block.run("prlimit", "--pid", str(pid), option).returncode == 0
    [told] = block.tampers(Trick.LIMIT)
    assert told.what == what and told.pid and not told.denied


def test_limits_that_are_read_or_ones_own(block: Scene) -> None:
    assert block.run("prlimit", "--pid", str(block.worker.pid)).returncode == 0
    assert block.run("prlimit", "--core=0", "sh", "-c", "ulimit -n 64").returncode == 0
    assert block.tampers() == []


def test_a_descriptor_out_of_the_worker_from_another_pid_namespace(block: Scene) -> None:
    """What a pidfd stands for is the same everywhere; it was opened before."""
    code = f"""
import ctypes, os
libc, worker = ctypes.CDLL(None), os.pidfd_open({block.worker.pid})
assert libc.unshare(0x20000000) == 0  # CLONE_NEWPID
if os.fork() == 0:
    libc.syscall(438, worker, 0, 0)  # pidfd_getfd
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert int(block.python(code).stdout) == KILLED
    [told] = block.tampers(Trick.READ)
    assert told.route == "pidfd_getfd"


def test_what_is_above_the_worker_is_no_way_to_it(block: Scene) -> None:
    """Who is in the memory of the runner's listener passes for the runner."""
    assert block.sensor._object is not None
    listener = block.other_agent.pid
    protect(block.sensor._object.map("protected"), listener, Protected.RUNNER)
    done = block.python(f"open('/proc/{listener}/environ'); open('/proc/{listener}/mem', 'wb')")
    assert done.returncode == KILLED
    [told] = block.tampers()
    assert (told.trick, told.what, told.route) == (Trick.READ, "the memory of the runner", "procfs")


def test_who_is_above_the_worker_is_no_agent(block: Scene) -> None:
    """A process of the job that gets there has no more rights at the guard than before."""
    assert block.sensor._object is not None
    opened = block.sensor._object
    code = "import sys; sys.stdin.readline()\nopen(f'/proc/{int(sys.argv[1])}/mem')"
    command = cgroup.command_in(block.group, [sys.executable, "-c", code, str(block.worker.pid)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        wait_until(lambda: b"readline" in proc_argv(process.pid), "it has become Python")
        protect(opened.map("protected"), process.pid, Protected.RUNNER)
        process.communicate("go\n")
    assert process.returncode == KILLED


def proc_argv(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
