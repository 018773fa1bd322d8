# SPDX-License-Identifier: MIT
"""The scene of every bypass: a thief, a friend, and a tap on the wire between them and the job."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from bypass.case import FRIEND, GIVER, JOB, SHARED, TCP_PORT, THIEF, UDP_PORT, Case
from lab import Lab, cgroup
from lab.guard import AGENT, Guarded, guard
from lab.tap import Tap

TESTS = Path(__file__).resolve().parents[1]
PYTHON = {"PYTHONPATH": f"{AGENT}:{TESTS}"}
LEAKSTOP = [sys.executable, "-m", "leakstop"]
TCP_PORTS = (22, 25, 53, 80, 123, 443, 853, 4444, 8000, TCP_PORT)
UDP_PORTS = (53, 443, 853, UDP_PORT)
# fe80:: addresses for link-local cases; a gateway for half of the world, where nobody is, as a
# machine with an uplink has one: also addresses of loopback have a way out then.
_SERVICES = (
    "address add fe80::99/64 dev service0 nodad\naddress add fe80::21/64 dev service0 nodad\n"
)
_JOB = "address add fe80::2/64 dev job0 nodad\nroute add 0.0.0.0/1 via 203.0.113.1\n"
_JOB += "route add 128.0.0.0/2 via 203.0.113.1\n"


_GIVER = f"""
import socket
with socket.socket(socket.AF_UNIX) as door:
    door.bind({GIVER!r})
    door.listen()
    print(flush=True)
    asker = door.accept()[0]
    wish = asker.recv(99).decode().split()
    kind = socket.SOCK_STREAM if wish else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as made:
        if wish:
            made.connect((wish[0], int(wish[1])))
        socket.send_fds(asker, [b"."], [made.fileno()])
"""


@dataclass(frozen=True)
class Outcome:
    """One attempt, and what it left."""

    error: str
    """Name of the error that the sender met, empty for none."""
    seconds: float
    """Until it knew."""
    arrived: bool
    """Whether the marker of the parcel was on the wire."""
    payload: int
    """Bytes of payload that came to the thief, marker or not, since the guard is in force."""
    guarded: Guarded
    said: str
    """What the sender printed besides."""


class Scene:
    """Sends parcels out of the lab, guarded or not."""

    def __init__(self, lab: Lab, reports: Path) -> None:
        self.lab = lab
        self.reports = reports
        for addresses in (THIEF, FRIEND):
            lab.serve("", [], bare=addresses, http=TCP_PORTS, https=(), udp=UDP_PORTS)
        lab.serve("friend.test", [SHARED])
        lab.dns.zone["thief.test"] = lab.dns.zone["*.friend.test"] = [SHARED]
        lab.configure(lab.services, _SERVICES)
        lab.configure(lab.job, _JOB)
        # Distributions open it; a new namespace has it closed.
        lab.job.call(lambda: _write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"))
        self.tap = Tap(lab.services, "service0")
        self._before = 0

    def attempt(
        self, case: Case, *, scope: str = "", mode: str = "block", twin: bool = False
    ) -> Outcome:
        """Send a parcel: to the thief, or as a twin to the friend."""
        marker = f"mk{os.urandom(6).hex()}"  # fits into a name, and into an IPv6 address
        name, to = (case.twin or case.name, case.friend) if twin else (case.name, case.to)
        arguments = [name, to, str(case.port), marker, case.friend]
        command = [sys.executable, "-m", "bypass.send", *arguments]
        allow = case.rule.format(friend=case.friend, port=case.port)
        policy = f"version: 1\nmode: {mode}\nallow:\n"
        policy += f"  - {allow}\n" if twin or case.detour else "  - nobody.test\n"
        run = {"": self._bare, "run": self._run, "start": self._start}[scope]
        if scope == "start" and case.older and not (twin and case.twin):
            run = self._start_later
        with ExitStack() as others:
            if case.visited:
                others.enter_context(self._visitor(to, case.port))
            if case.given:
                others.enter_context(self._giver())
            guarded = run(command, policy)
        lines = guarded.stdout.splitlines()
        assert lines and lines[-1].startswith("{"), f"the sender said nothing: {guarded}"
        told = json.loads(lines[-1])
        return Outcome(
            told["error"],
            told["seconds"],
            self.tap.holds(marker.encode()),
            self.tap.payload_to([*THIEF, case.to]) - self._before,
            guarded,
            guarded.stderr,
        )

    def _bare(self, command: list[str], _: str) -> Guarded:
        done = self.lab.run(command, env=PYTHON)
        return Guarded(done.returncode, done.stdout, done.stderr, self.reports)

    def _run(self, command: list[str], policy: str) -> Guarded:
        return guard(self.lab, command, policy=policy, env=PYTHON, reports=self.reports)

    def _start(self, command: list[str], policy: str) -> Guarded:
        """Guard a cgroup as a machine is guarded: nothing is taken from the processes in it."""
        with cgroup.child() as group, self._guarding(group, policy) as ended:
            done = self.lab.run(cgroup.command_in(group, command), env=PYTHON)
        return Guarded(
            ended[0].returncode, done.stdout, done.stderr + ended[0].stderr, self.reports
        )

    def _start_later(self, command: list[str], policy: str) -> Guarded:
        """Guard a cgroup when the sender, a step's, has already prepared itself."""
        held = self.lab.directory / "held"
        held.mkdir()
        worker = ["sh", "-c", '"$@"; read -r _', "worker", *command, str(held)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with cgroup.child() as group:
            process = self.lab.popen(cgroup.command_in(group, worker), env=PYTHON, **pipes)
            while not (held / "ready").exists():
                assert process.poll() is None, process.communicate()
                time.sleep(0.005)
            with self._guarding(group, policy, "--worker", str(process.pid)) as ended:
                self._before = self.tap.payload_to(THIEF)
                (held / "go").touch()
                assert process.stdout
                said = process.stdout.readline()
            process.communicate("\n", timeout=10)
        return Guarded(ended[0].returncode, said, ended[0].stderr, self.reports)

    @contextmanager
    def _guarding(
        self, group: Path, policy: str, *options: str
    ) -> Iterator[list[CompletedProcess[str]]]:
        """Guard ``group`` meanwhile; what `stop` said is then in the list."""
        path, agent = self.lab.directory / "policy.yml", self.lab.directory / "agent"
        path.write_text(policy)
        scope = ["--cgroup", str(group), "--run-dir", str(agent)]
        began = self._leakstop("start", "--policy", str(path), *scope, *options)
        assert began.returncode == 0, began.stderr
        ended: list[CompletedProcess[str]] = []
        try:
            yield ended
            self.lab.settle()
        finally:
            reports = ["--report-dir", str(self.reports)]
            ended.append(self._leakstop("stop", "--run-dir", str(agent), *reports))

    def _leakstop(self, *arguments: str) -> CompletedProcess[str]:
        """Run a subcommand; connections may be open meanwhile."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.lab.popen([*LEAKSTOP, *arguments], env=PYTHON, **pipes)
        out, err = process.communicate(timeout=30)
        return CompletedProcess(arguments, process.returncode, out, err)

    @contextmanager
    def _visitor(self, address: str, port: int) -> Iterator[None]:
        """Connect to the job from outside as soon as it listens, and take what it sends."""
        over = threading.Event()
        visit = threading.Thread(
            target=lambda: self.lab.services.call(lambda: _visit(address, port, over))
        )
        visit.start()
        try:
            yield
        finally:
            over.set()
            visit.join()

    @contextmanager
    def _giver(self) -> Iterator[None]:
        """Have a process outside of the guard that gives sockets away (SCM_RIGHTS)."""
        giver = self.lab.popen([sys.executable, "-c", _GIVER], stdout=subprocess.PIPE)
        try:
            assert giver.stdout and giver.stdout.readline()
            yield
        finally:
            giver.kill()
            giver.communicate()


def _visit(address: str, port: int, over: threading.Event) -> None:
    family, job = (socket.AF_INET6, JOB[1]) if ":" in address else (socket.AF_INET, JOB[0])
    while not over.wait(0.01):
        with socket.socket(family) as caller, suppress(OSError):
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            caller.settimeout(2)
            caller.bind((address, port))
            caller.connect((job, port))
            while caller.recv(4096):
                pass
            return


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


@pytest.fixture
def scene(lab: Lab, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(lab, tmp_path)
    with made.tap:
        yield made
