# SPDX-License-Identifier: MIT
"""T70, T75: signals, ptrace and bpf(2) at the guard are told, with who did it and the effect."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from leakstop.bpf.ids import object_id
from leakstop.model.coverage import Loss
from leakstop.model.tamper import Trick
from tamper.scene import KILLED, Scene

pytestmark = pytest.mark.root

AGENT = Path(__file__).resolve().parents[2] / "agent"
BPF = """
import os, sys
sys.path.insert(0, sys.argv[1])
from leakstop.bpf.libbpf import library
lib, pins = library(), sys.argv[2].encode()
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL])
def test_signals_at_the_agent(block: Scene, number: signal.Signals) -> None:
    done = block.run("sh", "-c", f"kill -{number.name[3:]} {block.other_agent.pid}; echo $$")
    [told] = block.tampers(Trick.SIGNAL)
    assert (told.what, told.pid) == (f"{number.name} at Leakstop's own process", int(done.stdout))
    assert not told.denied


def test_what_a_process_does_not_notice_is_no_attack(block: Scene) -> None:
    """SIGCHLD comes from its children, SIGWINCH from a terminal."""
    for number in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT, 0):
        block.python(f"import os; os.kill({block.other_agent.pid}, {int(number)})")
    assert block.tampers(Trick.SIGNAL) == []


def test_a_core_dump_of_the_worker(block: Scene) -> None:
    """Where root has set a pipe for core files, that is a way to the worker's memory."""
    for name, told in (("CONT", []), ("QUIT", ["SIGQUIT at the runner's worker"])):
        block.run("kill", f"-{name}", str(block.worker.pid))
        assert [each.what for each in block.tampers(Trick.SIGNAL)] == told


def test_signals_between_others_are_nobodys_business(block: Scene) -> None:
    assert block.run("sh", "-c", "sleep 9 & kill -9 $!; wait").returncode == 0
    assert block.tampers() == []


@pytest.mark.parametrize(
    ("route", "code"),
    [
        ("procfs", "open('/proc/{pid}/mem', 'rb')"),
        ("ptrace", "import ctypes; ctypes.CDLL(None).ptrace(0x4206, {pid}, 0, 0)"),
    ],
)
def test_the_agents_memory(block: Scene, route: str, code: str) -> None:
    """It knows all secrets, so it is as closed as the worker's."""
    assert block.python(code.format(pid=block.other_agent.pid)).returncode == KILLED
    [told] = block.tampers(Trick.TRACE)
    assert (told.what, told.route) == ("the memory of Leakstop's own process", route)


def test_detached_programs(block: Scene) -> None:
    """T75: dead at once, whoever holds a descriptor; so this is told when it is done."""
    pins = block.sensor._plan.run_dir / "bpf"
    done = block.run("bpftool", "link", "detach", "pinned", str(pins / "on_bind4"))
    assert done.returncode == 0, done.stderr
    [told] = [each for each in block.tampers(Trick.BPF) if each.pid]
    assert (told.what, told.route) == ("the guard's on_bind4", "BPF_LINK_DETACH")
    assert not told.denied


def test_tables_that_are_read_or_written(block: Scene) -> None:
    """T75: the policy's are frozen, so what is written there is refused; read they can be."""
    opened = block.sensor._object
    assert opened is not None
    names, learned = (str(object_id(opened.map(name).fd)) for name in ("ports", "addresses"))
    zeros = ["0"] * 40
    key, value = ["key", *zeros[:8]], ["value", *zeros[:32]]
    block.run("bpftool", "map", "update", "id", names, *key, *value)
    block.run("bpftool", "map", "dump", "id", learned)
    seen = {(told.what, told.route, told.denied) for told in block.tampers(Trick.BPF)}
    assert ("the guard's ports", "BPF_MAP_UPDATE_ELEM", True) in seen
    assert ("the guard's addresses", "BPF_MAP_GET_NEXT_KEY", True) in seen, "there is none yet"


def test_lists_may_be_looked_at(block: Scene) -> None:
    for kind in ("prog", "map", "link"):
        assert block.run("bpftool", kind, "show").returncode == 0
    assert block.tampers(Trick.BPF) == []


def test_programs_of_others(block: Scene) -> None:
    """T75: a program of the job's own. bpftool itself loads some to ask who holds a program."""
    code = """
import ctypes, struct
licence, program = ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(
    bytes.fromhex("b700000000000000" "9500000000000000"))
attr = bytearray(128)
struct.pack_into("<IIQQ", attr, 0, {type}, 2, ctypes.addressof(program), ctypes.addressof(licence))
attr[48:53] = b"mine!"[:4] + bytes(1)
print(ctypes.CDLL(None).syscall(321, 5, bytes(attr), len(attr)))
"""
    loaded = block.python(code.format(type=8))
    assert int(loaded.stdout) >= 0
    [told] = block.tampers(Trick.PROGRAMS)
    assert told.what == "a BPF program “mine” of type cgroup_skb"
    for ordinary in (1, 15):
        assert int(block.python(code.format(type=ordinary)).stdout) >= 0
    assert int(block.python(code.format(type=99)).stdout) == -1
    assert len(block.tampers(Trick.PROGRAMS)) == 1


def test_a_flood_hides_nothing(audit: Scene) -> None:
    """T77: one trick is told eight times a second, and others beside it."""
    code = (
        "import ctypes, time\nlibc, began = ctypes.CDLL(None), time.monotonic()\n"
        f"for _ in range(20000): libc.process_vm_readv({audit.worker.pid}, 0, 0, 0, 0, 0)\n"
        f"open('/proc/{audit.worker.pid}/environ')\nprint(time.monotonic() - began)"
    )
    done = audit.python(code)
    reads = audit.tampers(Trick.READ)
    by_memory = [told for told in reads if told.route == "process_vm_readv"]
    assert 1 <= len(by_memory) <= 8 * (1 + float(done.stdout) // 1) + 8
    assert [told.what for told in reads][-1] == "the environment of the runner's worker"
    assert not [event for event in audit.seen if isinstance(event, Loss)]
