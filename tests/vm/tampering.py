# SPDX-License-Identifier: MIT
"""What the data plane must do when the job lays hands on it or on the runner: seen everywhere, and
denied where the kernel has fentry. A part of ``scenario.py``.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from worker import Worker  # beside this file

from leakstop.bpf.ids import object_id
from leakstop.bpf.pins import map_pin
from leakstop.bpf.values import Protected
from leakstop.model.event import Event
from leakstop.model.tamper import Tamper, Trick
from leakstop.sensor.kernel import KernelSensor
from leakstop.sensor.protected import protect
from leakstop.sensor.tripwires import DENIAL_NOTE

INT_80 = """
import ctypes,mmap
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
where = libc.mmap(None, 4096, 7, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40, -1, 0)
# push rbx; mov eax, 5 (open); mov ebx, edi; xor ecx, ecx; xor edx, edx; int 0x80; pop rbx; ret
code = bytes.fromhex("53b80500000089fb31c931d2cd805bc3")
ctypes.memmove(where, code, len(code))
ctypes.memmove(where + 64, b"{path}\\0", len("{path}") + 1)
ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long)(where)(where + 64)
"""
"""open(2) as 32-bit programs call it."""
RING = """
import ctypes,mmap,os,struct
syscall = ctypes.CDLL(None, use_errno=True).syscall
params = ctypes.create_string_buffer(120)
ring = syscall(425, 4, params) # io_uring_setup
submissions, completions = (struct.unpack_from("=10I", params, at) for at in (40, 80))
queue, done, entries = (mmap.mmap(ring, 4096, offset=at) for at in (0, 0x8000000, 0x10000000))
path = ctypes.create_string_buffer(b"{path}")
# struct io_uring_sqe: IORING_OP_OPENAT, at AT_FDCWD
entries[:28] = struct.pack("=BBHiQQI", 18, {flags}, 0, -100, 0, ctypes.addressof(path), 0)
queue[submissions[6] : submissions[6] + 4] = bytes(4)
queue[submissions[1] : submissions[1] + 4] = (1).to_bytes(4, "little")
assert syscall(426, ring, 1, 1, 1, None, 0) == 1, ctypes.get_errno() # io_uring_enter, and wait
opened = struct.unpack_from("=i", done, completions[5] + 8)[0]
assert opened >= 0, os.strerror(-opened)
print(opened)
"""
"""openat(2) without a system call of its own: in the caller's time, or in a worker's."""
SET_CLOCK = """
import ctypes,time
libc = ctypes.CDLL(None, use_errno=True)
now = (ctypes.c_long * 2)(int(time.time()), 0)
assert libc.{call} >= 0, ctypes.get_errno()
"""
_BY = 0, 1 << 4
"""Flags of a request: by whom it is done. IOSQE_ASYNC: a worker."""
HOLDS_A_TABLE = """
import ctypes,struct,sys
syscall = ctypes.CDLL(None).syscall
def bpf(command, layout, *values):
    attr = struct.pack(layout, *values).ljust(128, bytes(1))
    return syscall(321, command, attr, len(attr))
table = bpf(14, "<I", {table})
# r1 = the table; r0 = 0; exit
code = struct.pack("<BBhi", 0x18, 0x11, 0, table) + bytes(8)
code += struct.pack("<BBhi", 0xb7, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
code, licence = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
loaded = bpf(5, "<IIQQ", 1, 4, ctypes.addressof(code), ctypes.addressof(licence))
sys.exit(7 * (loaded < 0))
"""
"""A program that names a table by its number."""


def sleeper() -> int:
    """A process that stands for one that is protected."""
    child = os.fork()
    if child == 0:
        time.sleep(3600)
        os._exit(0)
    return child


class Tampering:
    """The checks, and whom the guard protects meanwhile."""

    sensor: KernelSensor
    worker: Worker
    events: list[Event]
    run_dir: Path

    def __init__(self) -> None:
        self.other_agent = sleeper()
        self.denies = False

    def stand_by(self) -> None:
        """Once the guard is in force."""
        opened = self.sensor._object
        assert opened is not None
        protect(opened.map("protected"), self.other_agent, Protected.AGENT)
        self.denies = DENIAL_NOTE not in self.sensor._attachment.uncovered
        print("denials" if self.denies else "no denials")

    def dismiss(self) -> None:
        """Once it is not any more."""
        os.kill(self.other_agent, signal.SIGKILL)

    def execute(self, code: str) -> int:
        """Run a program in a guarded child; return wait(2)'s status."""
        raise NotImplementedError

    def tampers(self, trick: Trick) -> list[Tamper]:
        """What was seen of a trick."""
        return [e for e in self.events if isinstance(e, Tamper) and e.trick is trick]

    def check_a_packet_socket_is_refused_where_it_can_be(self) -> bool:
        code = (
            "import errno,socket,sys\n"
            "for family, code in (17, errno.EPERM), (40, errno.EPERM), (3, errno.EAFNOSUPPORT):\n"
            "    try: socket.socket(family, socket.SOCK_DGRAM)\n"
            "    except OSError as error: sys.exit(error.errno != code and family)\n"
        )
        return self.execute(code) == 0 if self.denies else True

    def check_the_workers_memory_is_out_of_reach(self) -> bool:
        """By all ways: whoever tries dies before he has read, and is denied where that can be."""
        call = "import ctypes,os\nsyscall=ctypes.CDLL(None).syscall\n"
        part = "here=(ctypes.c_long*1)(); part=(ctypes.c_long*2)(ctypes.addressof(here),8)\n"
        ways = [
            f"open('/proc/{self.worker.pid}/mem','rb')",
            f"open('/proc/{self.worker.pid}/task/{self.worker.pid}/environ','rb').read()",
            f"{call}syscall(101,16,{self.worker.pid},0,0)",
            f"{call}syscall(101,0x4206,{self.worker.pid},0,0)",
            f"{call}{part}syscall(310,{self.worker.pid},part,1,part,1,0)",
            f"{call}syscall(438,os.pidfd_open({self.worker.pid}),0,0)",
        ]
        if self.denies:  # nobody else sees system calls of another architecture, and rings
            memory = f"/proc/{self.worker.pid}/mem"
            ways.append(INT_80.format(path=memory))
            ways += [RING.format(path=memory, flags=flags) for flags in _BY]
        ended = [self.execute(f"{way}\nprint('read')") for way in ways]
        seen = self.tampers(Trick.READ)
        return [os.WTERMSIG(status) for status in ended] == [signal.SIGKILL] * len(ways) == [
            told.killed * signal.SIGKILL for told in seen
        ] and (not self.denies or all(told.denied for told in seen))

    def check_a_ring_opens_other_files(self) -> bool:
        """So it is not for want of a ring that the worker's memory is out of its reach."""
        ends = [self.execute(RING.format(path="/proc/self/mem", flags=flags)) for flags in _BY]
        return ends == [0, 0]

    def check_the_workers_neighbours_are_not(self) -> bool:
        code = (
            "import os,signal\nchild = os.fork()\nif child == 0: signal.pause()\n"
            "open(f'/proc/{child}/mem','rb'); open(f'/proc/{child}/environ','rb')\n"
            "os.kill(child, 9); open('/proc/self/mem','rb'); open('/proc/1/status')\n"
            f"os.open('/proc/{self.worker.pid}/mem', os.O_PATH)\n"
            f"open('/proc/{self.worker.pid}/maps')"
        )
        before = len(self.tampers(Trick.READ))
        return self.execute(code) == 0 and len(self.tampers(Trick.READ)) == before

    def check_the_agent_is_not_signalled(self) -> bool:
        code = (
            "import os,sys\n"
            f"try: os.kill({self.other_agent}, 19)\n"
            "except PermissionError: sys.exit(7)"
        )
        status = self.execute(code)
        told = [(each.what, each.denied) for each in self.tampers(Trick.SIGNAL)]
        wanted = "SIGSTOP at Leakstop's own process", self.denies
        return os.waitstatus_to_exitcode(status) == 7 * self.denies and told == [wanted]

    def check_who_sets_the_clock_is_told(self) -> bool:
        """To what it shows already. The time zone is no time."""
        ways = {
            "clock_settime": "clock_settime(0, now)",
            "settimeofday": "syscall(164, now, None)",
            "": "syscall(164, None, (ctypes.c_int * 2)())",
            "adjtimex": "syscall(159, (ctypes.c_uint64 * 32)(0x0100))",
        }
        ends = [self.execute(SET_CLOCK.format(call=call)) for call in ways.values()]
        told = [(each.what, each.route) for each in self.tampers(Trick.CLOCK)]
        return ends == [0] * len(ways) and told == [("the time", way) for way in ways if way]

    def check_nobody_else_takes_the_guard_down(self) -> bool:
        pins = self.run_dir / "bpf"
        table = pins / map_pin("refusals")
        code = (
            "import ctypes,os,sys\n"
            "from leakstop.bpf.libbpf import library\n"
            "lib, libc = library(), ctypes.CDLL(None, use_errno=True)\n"
            f"link = lib.attempt('bpf_obj_get', b'{pins}/on_option')\n"
            f"table = lib.attempt('bpf_obj_get', b'{table}')\n"
            "results = [lib.attempt('bpf_link_detach', link),\n"
            "  lib.attempt('bpf_map_update_elem', table, bytes(4), bytes(64), 0)]\n"
            f"if {self.denies}: results += [libc.unlink(b'{pins}/on_option') and -1,\n"
            f"  libc.umount2(b'{pins}', 2) and -1]\n"
            "sys.exit(sum(result == -1 for result in results))"
        )
        refused_ = os.waitstatus_to_exitcode(self.execute(code))
        told = [(each.route, each.denied) for each in self.tampers(Trick.BPF) if each.pid]
        mounts = [(each.route, each.denied) for each in self.tampers(Trick.MOUNT)]
        wanted = [("BPF_LINK_DETACH", self.denies), ("BPF_MAP_UPDATE_ELEM", self.denies)]
        ends = [("unlink", True), ("umount", True)] * self.denies
        return (refused_, told, mounts) == (4 * self.denies, wanted, ends)

    # After those that count what was told.

    def check_limits_of_the_agent_are_not_set(self) -> bool:
        code = (
            "import ctypes,sys\n"
            "limit = (ctypes.c_uint64 * 2)(3, 3)\n"
            f"sys.exit(7 * bool(ctypes.CDLL(None).syscall(302, {self.other_agent}, 7, limit, 0)))"
        )
        status = self.execute(code)
        told = [(each.what, each.denied) for each in self.tampers(Trick.LIMIT)]
        wanted = "RLIMIT_NOFILE of Leakstop's own process", self.denies
        return os.waitstatus_to_exitcode(status) == 7 * self.denies and told == [wanted]

    def check_signals_in_disguise_are_signals(self) -> bool:
        """With a code of the kernel's, and from a file that has something to read."""
        before = len(self.tampers(Trick.SIGNAL))
        queued = (
            "import ctypes,struct,sys\n"
            "info = struct.pack('<iii', 19, 0, -2).ljust(128, bytes(1))\n"
            f"sys.exit(7 * bool(ctypes.CDLL(None).syscall(129, {self.other_agent}, 19, info)))"
        )
        by_file = (
            "import fcntl,os,socket\na, b = socket.socketpair()\n"
            f"fcntl.fcntl(a, fcntl.F_SETOWN, {self.other_agent})\nfcntl.fcntl(a, 10, 19)\n"
            "fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC)\nb.send(b'x')"
        )
        ended = [os.waitstatus_to_exitcode(self.execute(code)) for code in (queued, by_file)]
        told = [(each.what, each.denied) for each in self.tampers(Trick.SIGNAL)[before:]]
        wanted = "SIGSTOP at Leakstop's own process", self.denies
        return ended == [7 * self.denies, 0] and told == [wanted] * 2

    def check_no_program_of_others_has_the_guards_tables(self) -> bool:
        """A socket filter, which is no finding for what it is."""
        opened = self.sensor._object
        assert opened is not None
        before = len(self.tampers(Trick.BPF))
        code = HOLDS_A_TABLE.format(table=object_id(opened.map("protected").fd))
        status = os.waitstatus_to_exitcode(self.execute(code))
        told = [(e.what, e.route, e.denied) for e in self.tampers(Trick.BPF)[before:]]
        wanted = "the guard's protected", "BPF_PROG_LOAD", self.denies
        return status == 7 * self.denies and told == [wanted]

    def check_the_switch_of_the_denials_is_put_back(self) -> bool:
        """Only in a machine of its own."""
        switch = Path("/proc/sys/kernel/ftrace_enabled")
        if not self.denies or os.getppid() != 1 or not switch.exists():
            return True
        code = f"import sys\ntry: open('{switch}', 'w').write('0')\nexcept OSError: sys.exit(7)"
        if os.waitstatus_to_exitcode(self.execute(code)) == 7:
            return True  # a kernel that does not let it be switched off while it is used
        self.sensor.look()
        self.events += self.sensor.poll(0.1)
        told = [each.mended for each in self.tampers(Trick.BPF) if "ftrace" in each.what]
        return switch.read_text().strip() == "1" and told == [True]
