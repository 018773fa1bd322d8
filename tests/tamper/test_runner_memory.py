# SPDX-License-Identifier: MIT
"""Who reads the memory or the environment of the runner's worker is seen, and killed in block.

Re-enacts how the memory of Runner.Worker was read for its secrets (tj-actions/changed-files, March
2025: a Python script, as root, through ``/proc/PID/mem``), and all other ways to the same.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab import cgroup
from leakstop.bpf.values import Protected
from leakstop.model.process import Tag
from leakstop.model.tamper import Trick
from leakstop.sensor.protected import protect
from tamper.scene import KILLED, Scene

pytestmark = pytest.mark.root

LIBC = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
pid, tid, address = map(int, sys.argv[1:4])
def call(*numbers):
    result = libc.syscall(*(n if isinstance(n, bytes) else ctypes.c_long(n) for n in numbers))
    print("result", result, ctypes.get_errno(), flush=True)
    return result
class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))
"""
VM = """
mine = ctypes.create_string_buffer(8)
here, there = Vector(ctypes.addressof(mine), 8), Vector(address, 8)
call({number}, {target}, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0)
"""
OPENAT2 = """
how = (ctypes.c_uint64 * 3)(os.O_RDONLY, 0, 0)
call(437, -100, f"/proc/{pid}/mem".encode(), ctypes.addressof(how), 24)
"""
LINK = """
os.symlink(f"/proc/{pid}", f"{sys.argv[4]}/link")
print(open(f"{sys.argv[4]}/link/mem", "rb"))
"""
ROUTES = {
    "mem": ("procfs", 'print(open(f"/proc/{pid}/mem", "rb"))'),
    "a thread's mem": ("procfs", 'print(open(f"/proc/{pid}/task/{tid}/mem", "rb"))'),
    "the thread's own directory": ("procfs", 'print(open(f"/proc/{tid}/mem", "rb"))'),
    "environ": ("procfs", 'print(open(f"/proc/{pid}/environ", "rb").read())'),
    "through a link": ("procfs", LINK),
    "through a directory's descriptor": (
        "procfs",
        'print(os.open("mem", os.O_RDONLY, dir_fd=os.open(f"/proc/{pid}", os.O_PATH)))',
    ),
    "open(2)": ("procfs", 'call(2, f"/proc/{pid}/mem".encode(), os.O_RDWR, 0)'),
    "openat2(2)": ("procfs", OPENAT2),
    "process_vm_readv": ("process_vm_readv", VM.format(number=310, target="pid")),
    "process_vm_readv of a thread": ("process_vm_readv", VM.format(number=310, target="tid")),
    "process_vm_writev": ("process_vm_writev", VM.format(number=311, target="pid")),
    "ptrace attach": ("ptrace", "call(101, 16, tid, 0, 0)"),
    "ptrace seize": ("ptrace", "call(101, 0x4206, pid, 0, 0)"),
    "pidfd_getfd": ("pidfd_getfd", "call(438, os.pidfd_open(pid), 1, 0)"),
}
"""What is told, and the program; numbers of system calls are those of x86_64."""


def attack(scene: Scene, code: str) -> subprocess.CompletedProcess[str]:
    worker = scene.worker
    thread = next(each for each in worker.threads if each != worker.pid)
    scratch = scene.sensor._plan.run_dir
    return scene.python(LIBC + code, worker.pid, thread, worker.address, scratch)


@pytest.mark.parametrize("name", ROUTES)
def test_the_reader_is_killed_before_it_has_read(block: Scene, name: str) -> None:
    route, code = ROUTES[name]
    done = attack(block, code)
    assert (done.returncode, done.stdout) == (KILLED, ""), done.stderr
    [told] = block.tampers(Trick.READ)
    part = "environment" if name == "environ" else "memory"
    assert (told.what, told.route) == (f"the {part} of the runner's worker", route)
    assert told.killed


@pytest.mark.parametrize("name", ["mem", "environ", "process_vm_readv", "ptrace seize"])
def test_in_audit_it_is_only_told(audit: Scene, name: str) -> None:
    done = attack(audit, ROUTES[name][1])
    assert done.returncode == 0, done.stderr
    [told] = audit.tampers(Trick.READ)
    assert (told.killed, told.denied, told.pid > 0) == (False, False, True)


def test_a_procfs_elsewhere_is_one(block: Scene, tmp_path: Path) -> None:
    """T76: nothing goes by the path that was opened."""
    mounted = tmp_path / "elsewhere"
    mounted.mkdir()
    script = 'mount -t proc none "$0" && cat "$0/$1/environ"'
    done = block.run("unshare", "-m", "sh", "-c", script, str(mounted), str(block.worker.pid))
    assert not done.stdout
    assert [told.killed for told in block.tampers(Trick.READ)] == [True]


def test_a_worker_by_name_only_is_none(block: Scene) -> None:
    """T76: what a process calls itself says nothing of who it is."""
    rename = (
        "libc.prctl(15, b'Runner.Worker', 0, 0, 0)\n"
        "assert open('/proc/self/comm').read() == 'Runner.Worker\\n'\n"
    )
    done = attack(block, rename + ROUTES["mem"][1])
    assert (done.returncode, done.stdout) == (KILLED, "")


def test_a_child_of_the_worker_has_its_memory_until_it_is_another_program(
    block: Scene, tmp_path: Path
) -> None:
    """A stand-in that forks on demand: the copy is as good as the original."""
    code = (
        "import os, time\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(30); os._exit(0)\n"
        "other = os.fork()\n"
        "if other == 0: os.execv('/bin/sleep', ['sleep', '30'])\n"
        "print(child, other, flush=True); time.sleep(30)"
    )
    program = tmp_path / "worker.py"
    program.write_text("input()\n" + code)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, program], text=True, **pipes) as worker:  # type: ignore[call-overload]
        try:
            assert block.sensor._object is not None
            protect(block.sensor._object.map("protected"), worker.pid, Protected.WORKER)
            worker.stdin.write("\n")
            worker.stdin.flush()
            twin, other = map(int, worker.stdout.readline().split())
            assert block.run("cat", f"/proc/{twin}/environ").returncode == KILLED
            assert block.run("cat", f"/proc/{other}/environ").returncode == 0
            subprocess.run(["kill", str(twin), str(other)], check=True)
        finally:
            worker.kill()


# -- who is not flagged -------------------------------------------------------------------


def test_what_looks_on_is_not_flagged(block: Scene) -> None:
    """``ps``, ``lsof`` and the like: the process's directory, its state, its map of memory."""
    worker = block.worker.pid
    code = (
        f"import os; os.listdir('/proc/{worker}/fd'); os.readlink('/proc/{worker}/exe')\n"
        "for name in 'maps', 'status', 'cmdline', 'stat':\n"
        f"    open(f'/proc/{worker}/{{name}}').read()\n"
        f"os.open('/proc/{worker}/mem', os.O_PATH)\n"
        "open('/proc/self/environ', 'rb').read(); open('/proc/self/mem', 'rb')"
    )
    assert block.python(code).returncode == 0
    assert block.run("ps", "-ef").returncode == 0
    assert block.tampers() == []


def test_a_debugger_on_its_own_child_is_not_flagged(block: Scene) -> None:
    code = """
child = os.fork()
if child == 0: signal.pause()
open(f"/proc/{child}/mem", "rb"); open(f"/proc/{child}/environ", "rb").read()
call(101, 16, child, 0, 0); os.waitpid(child, 0)
libc.ptrace(17, child, 0, 0); os.kill(child, 9)
"""
    done = attack(block, code)
    assert (done.returncode, done.stdout) == (0, "result 0 0\n")
    assert block.tampers() == []


def test_a_number_in_another_namespace_is_another_process(block: Scene) -> None:
    """In a container the worker's number may be that of anybody."""
    code = f"import ctypes; print(ctypes.CDLL(None).ptrace(16, {block.worker.pid}, 0, 0))"
    done = block.run("unshare", "--pid", "--fork", sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (0, "-1\n")
    assert block.tampers() == []


@pytest.mark.parametrize(
    ("tag", "name", "flagged"),
    [
        (Tag.RUNNER, "mem", False),
        (Tag.RUNNER, "environ", False),
        (Tag.MACHINE, "mem", False),
        (Tag.ENGINE, "environ", True),
        (Tag.JOB, "mem", True),
    ],
)
def test_by_whom_it_is_read(audit: Scene, tag: Tag, name: str, flagged: bool) -> None:
    """The runner reads environments when it looks for what a job has left, scanners memory."""
    reader = (
        "import sys\nprint(flush=True); sys.stdin.readline()\n"
        f"open('/proc/{audit.worker.pid}/{name}', 'rb')"
    )
    command = cgroup.command_in(audit.group, [sys.executable, "-c", reader])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        audit.own(process.pid, tag)
        process.communicate("\n", timeout=10)
    assert [told.pid for told in audit.tampers()] == [process.pid] * flagged


@pytest.mark.parametrize(
    ("name", "what", "code"),
    [
        ("needrestart", "environ", 0),
        ("needrestart", "mem", KILLED),
        ("restarts", "environ", KILLED),
    ],
)
def test_needrestart_reads_all_environments(
    block: Scene, tmp_path: Path, name: str, what: str, code: int
) -> None:
    """apt calls it in the end; who asks it for nothing is not to be killed for that."""
    script = tmp_path / name
    script.write_text('#!/usr/bin/perl\nopen(my $file, "<", $ARGV[0]) or exit 3;\n')
    script.chmod(0o755)
    assert block.run(str(script), f"/proc/{block.worker.pid}/{what}").returncode == code
    assert len(block.tampers(Trick.READ)) == (code == KILLED)
