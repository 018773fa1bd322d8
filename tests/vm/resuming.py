# SPDX-License-Identifier: MIT
"""What the agent must do when it is killed, or out of memory: as a whole, under its supervisor.

Runs as root in a virtual machine, after ``scenario.py``: it sets limits for memory.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from scenario import left_on  # beside this file

from leakstop.act.cgroup import CommandCgroup, cgroup2_mount
from leakstop.bpf import held, pins
from leakstop.bpf.ids import object_id
from leakstop.bpf.tc import Filter
from leakstop.daemon.client import AgentClient
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.errors import CoverageError
from leakstop.model.verdict import Action, Mode, RuleRef
from leakstop.policy.canonical import to_canonical
from leakstop.policy.rules import AddressPlace, Home, Policy, PortRange, Protocol, Rule, to_network
from leakstop.secrets.inventory import Secret

HERE, PEER, NOWHERE = "192.0.2.1", "192.0.2.80", "198.51.100.9"
"""This machine, its neighbour, and where no route leads."""
WIRE = "wire0"
PORT = 443
TLS = next(Path("/usr/lib").glob("*-linux-gnu/libssl.so.3"))
PATIENCE_S = 60
CLONE_NEWNET = 0x40000000
KILLED = -signal.SIGKILL
FINDINGS = 10
LITTLE = 1 << 20
"""Less than any agent needs."""

DENIED = f"""
import socket, sys
try: socket.create_connection(({NOWHERE!r}, 443), 5)
except OSError as error: sys.exit(error.errno)
"""
WRITER = f"""
import ctypes, socket, sys
tls = ctypes.CDLL(sys.argv[1])
for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
    getattr(tls, name).restype = ctypes.c_void_p
made = tls.SSL_new(ctypes.c_void_p(tls.SSL_CTX_new(ctypes.c_void_p(tls.TLS_client_method()))))
line = socket.create_connection(({PEER!r}, {PORT}), 30)
told = sys.stdin.buffer.read()
tls.SSL_write(ctypes.c_void_p(made), told, len(told))
"""
"""Connects, and once it is told something gives that to OpenSSL, for which the connection is not
made: it encrypts nothing."""


def until(happened: Callable[[], object], what: str) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def neighbour() -> int:
    """Another machine at the other end of a wire, that takes connections; its process."""
    for command in (f"ip link add {WIRE} type veth", f"ip addr add {HERE}/24 dev {WIRE}"):
        subprocess.run(command.split(), check=True)
    index = int(Path(f"/sys/class/net/{WIRE}/iflink").read_text())
    other = socket.if_indextoname(index)
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).unshare(CLONE_NEWNET)
        until(lambda: other in dict(map(reversed, socket.if_nameindex())), "the wire")
        for command in (f"ip addr add {PEER}/24 dev {other}", f"ip link set {other} up"):
            subprocess.run(command.split(), check=True)
        taken = []
        with socket.create_server((PEER, PORT)) as server:
            while True:
                taken.append(server.accept())
    own = os.stat("/proc/self/ns/net").st_ino
    until(lambda: os.stat(f"/proc/{child}/ns/net").st_ino != own, "a machine of its own")
    for command in (f"ip link set {other} netns {child}", f"ip link set {WIRE} up"):
        subprocess.run(command.split(), check=True)
    until(lambda: Path(f"/sys/class/net/{WIRE}/carrier").read_text() == "1\n", "the wire is up")
    return child


class Resuming:
    """A guard of a machine, and the checks, which go on from each other."""

    def __init__(self) -> None:
        self.neighbour = neighbour()
        self.token = "tok_" + secrets.token_urlsafe(30)
        mount = cgroup2_mount()
        (mount / "cgroup.subtree_control").write_text("+memory")
        self.group = CommandCgroup.create(mount, "guarded")
        self.own = CommandCgroup.create(mount, "agent")
        self.run_dir = Path("/run/leakstop/resuming")
        self.reports = Path("/tmp/report")
        self._start()
        self.first = self.agent
        status = Path(f"/proc/{self.first}/stat").read_text()
        self.supervisor = int(status.rpartition(")")[2].split()[1])
        self.attached: dict[str, int] = {}
        self.watched: set[str] = set()

    def close(self) -> None:
        """Take away what is not the guard's."""
        os.kill(self.neighbour, signal.SIGKILL)
        os.waitpid(self.neighbour, 0)

    def _start(self) -> None:
        ref = RuleRef(PEER, "here")
        place, ports = AddressPlace(to_network(f"{PEER}/32")), (PortRange(PORT, PORT),)
        policy = Policy(
            mode=Mode.BLOCK,
            rules=(Rule(Action.ALLOW, place, Protocol.TCP, ports, ref),),
            homes={"TOKEN": Home(True, (), ("nowhere",))},
        )
        request = ArmRequest(
            policy=to_canonical(policy),
            secrets=(Secret("TOKEN", self.token.encode()),),
            cgroup=str(self.group.path),
        )
        self._leakstop("start", "--prepared", "-", told=json.dumps(request_to_json(request)))

    def _leakstop(self, *arguments: str, told: str = "") -> int:
        command = [sys.executable, "-m", "leakstop", *arguments, "--run-dir", str(self.run_dir)]
        done = subprocess.run(
            command,
            input=told,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=self.own.enter,
        )
        self.said = done.stdout
        return done.returncode

    # -- what is there ------------------------------------------------------------------

    @property
    def agent(self) -> int:
        """Its process; waits for one that answers."""
        found: list[int] = []

        def ask() -> list[int]:
            with suppress(CoverageError), closing(AgentClient.connect(self.run_dir)) as client:
                found.append(int(client.status()["pid"]))
            return found

        until(ask, "an agent answers")
        return found[0]

    @property
    def pins(self) -> Path:
        """Where it keeps its links."""
        return self.run_dir / "guard-1" / "bpf"

    @property
    def wire(self) -> int:
        """The number of our interface."""
        return socket.if_nametoindex(WIRE)

    def links(self) -> dict[str, int]:
        """What is attached, by the names of the pins: the program of each."""
        found = {}
        for name, descriptor in pins.held(self.pins).items():
            if not name.startswith(pins.MAPS):
                is_filter = name.startswith("clsact-")
                found[name] = object_id(descriptor)
                if is_filter and not Filter.named(name).runs(found[name]):
                    found[name] = 0
                if not is_filter and not held.program_of(descriptor):
                    found[name] = 0
                os.close(descriptor)
        return found

    def gaps(self) -> int:
        """How many are written down."""
        with suppress(FileNotFoundError):
            return (self.run_dir / "events.ndjson").read_text().count('"gap"')
        return 0

    def log(self) -> str:
        """What agent and supervisor had to say."""
        return (self.run_dir / "agent.log").read_text()

    def probes(self, file: Path) -> set[str]:
        """Pins of the probes in a file."""
        number = f"-{file.stat().st_ino:x}-"
        return {pin.name for pin in self.pins.glob(f"{pins.PROBE}*") if number in pin.name}

    # -- what a job does ----------------------------------------------------------------

    def python(self, code: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """A program of the job."""
        command = [sys.executable, "-c", code, *arguments]
        entered = self.group.enter
        return subprocess.Popen(command, preexec_fn=entered, **options)

    def is_denied(self) -> bool:
        """Whether a job is refused what no rule allows; without a guard there is no route."""
        with self.python(DENIED) as process:
            return process.wait(PATIENCE_S) == errno.EPERM

    def is_refused_on_the_wire(self) -> bool:
        """Whether what no socket is asked for is refused on its way to the neighbour."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((WIRE, 0x0800))
            packet = struct.pack("!BBHHHBBH", 0x45, 0, 32, 1, 0, 64, socket.IPPROTO_UDP, 0)
            packet += socket.inet_aton(HERE) + socket.inet_aton(PEER)
            packet += struct.pack("!HHHH", 4242, 9000, 12, 0) + b"data"
            try:
                raw.send(bytes(12) + b"\x08\0" + packet)
            except OSError as error:
                return error.errno == errno.ENOBUFS
        return False

    def writes(self, text: str, file: Path = TLS) -> int:
        """How a program of the job ends that gives ``text`` to OpenSSL."""
        with self.python(WRITER, str(file), stdin=subprocess.PIPE) as process:
            until(lambda: self.probes(file) or process.poll() is not None, "the guard looks at it")
            process.communicate(text.encode(), PATIENCE_S)
        return process.returncode

    # -- killed -------------------------------------------------------------------------

    def check_all_of_it_is_in_force(self) -> bool:
        self.attached = self.links()
        on_wire = [name for name in self.attached if name.split("-")[1:2] == [str(self.wire)]]
        ends = self.writes("nothing"), self.writes(self.token)
        self.watched = self.probes(TLS)
        return (
            self.is_denied()
            and self.is_refused_on_the_wire()
            and len(on_wire) == 1
            and all(self.attached.values())
            and ends == (0, KILLED)
        )

    def check_it_stays_in_force_while_nobody_watches(self) -> bool:
        """The supervisor is held up so long."""
        os.kill(self.supervisor, signal.SIGSTOP)
        try:
            os.kill(self.first, signal.SIGKILL)
            denied = self.is_denied(), self.is_refused_on_the_wire()
            ended = self.writes(self.token)
        finally:
            os.kill(self.supervisor, signal.SIGCONT)
        return denied == (True, True) and ended == KILLED

    def check_the_next_agent_takes_over_what_is_attached(self) -> bool:
        """No program, filter or probe is exchanged, and none comes a second time."""
        until(lambda: self.gaps() == 1, "another agent has taken over")
        links, agent = self.links(), self.agent
        print(*sorted(links.items() ^ self.attached.items()))
        same = links == self.attached and self.probes(TLS) == self.watched
        return agent != self.first and same

    def check_what_is_denied_stays_denied(self) -> bool:
        ends = self.writes("nothing"), self.writes(self.token)
        return self.is_denied() and self.is_refused_on_the_wire() and ends == (0, KILLED)

    def check_the_next_agent_attaches_to_what_is_new(self) -> bool:
        """To a library that nobody has used before, upon the tables that there are."""
        copy = Path("/tmp/libssl.so")
        shutil.copy(TLS, copy)
        return (self.writes("nothing", copy), self.writes(self.token, copy)) == (0, KILLED)

    # -- out of memory ------------------------------------------------------------------

    def _limit(self, most: str) -> None:
        (self.own.path / "memory.max").write_text(most)

    def _killed(self) -> int:
        """How many were ended for the memory of agent and supervisor."""
        events = (self.own.path / "memory.events").read_text().split()
        return int(events[events.index("oom_kill") + 1])

    def check_out_of_memory_the_kernel_takes_neither_of_them(self) -> bool:
        """Nothing that needs memory goes on, of theirs; what is denied stays denied."""
        self._limit(str(LITTLE))
        denied = self.is_denied(), self.is_refused_on_the_wire()
        self._limit("max")
        return denied == (True, True) and self._killed() == 0 and self.agent > 0

    def check_an_agent_that_the_kernel_took_for_its_memory_is_started_again(self) -> bool:
        """Root made it the first to be taken. The next one has to wait for memory to start."""
        before, gaps = self.agent, self.gaps()
        Path(f"/proc/{before}/oom_score_adj").write_text("1000")
        self._limit(str(LITTLE))
        until(self._killed, "it is killed")
        denied = self.is_denied(), self.is_refused_on_the_wire()
        until(lambda: "no agent can be started" in self.log(), "there is no memory for another")
        self._limit("max")
        until(lambda: self.gaps() > gaps, "another agent has taken over")
        spared = Path(f"/proc/{self.agent}/oom_score_adj").read_text() == "-1000\n"
        return denied == (True, True) and spared and self.links() == self.attached

    # -- the end ------------------------------------------------------------------------

    def check_the_report_is_red_and_says_when_nobody_watched(self) -> bool:
        code = self._leakstop("stop", "--report-dir", str(self.reports))
        print(self.said)
        report = json.loads((self.reports / "report.json").read_text())
        gaps = report["coverage"]["gaps"]
        lost = [each for each in report["findings"] if each["id"] == "coverage-lost"]
        return (
            code == FINDINGS
            and [gap["why"] for gap in gaps].count("the agent was killed by SIGKILL") == 2
            and all(gap["since"] < gap["until"] and not gap["undecided"] for gap in gaps)
            and len(lost) == len(gaps)
        )

    def check_nothing_is_left(self) -> bool:
        mounts = Path("/proc/self/mountinfo").read_text()
        return not left_on(WIRE) and "/guard-1/" not in mounts and self.group.remove()


def main() -> int:
    """Run all checks; 0 if all passed."""
    resuming = Resuming()
    results: list[bool] = []
    try:
        for name in [name for name in vars(Resuming) if name.startswith("check_")]:
            began = time.monotonic()
            try:
                passed = bool(getattr(resuming, name)())
            except Exception:  # noqa: BLE001 - one failed check must not hide the others
                traceback.print_exc(file=sys.stdout)
                passed = False
            if not passed:
                print(resuming.log())
            results.append(passed)
            took = f"({time.monotonic() - began:.0f} s)"
            print("ok  " if passed else "FAIL", name.removeprefix("check_"), took, flush=True)
    finally:
        resuming.close()
    print(f"{results.count(True)} passed, {results.count(False)} failed", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
