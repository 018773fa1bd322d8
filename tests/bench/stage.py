# SPDX-License-Identifier: MIT
"""Where the figures are taken: the lab, a quick far end, guards, and workers in their cgroups.

Everything is in one run and at once: a worker in a cgroup without a guard, and one in the
cgroup of each guard, all asked in turns. The guards are real agents, with their journals.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import trustme

from bench.peer import DISCARD, SINK
from lab import Lab, cgroup, tokens
from lab.guard import AGENT
from leakstop.cli import prepare
from leakstop.cli.options import Text, Wish
from leakstop.daemon.client import AgentClient
from leakstop.daemon.request import ArmRequest, request_to_json
from leakstop.errors import CoverageError
from leakstop.model.report import Report
from leakstop.secrets.inventory import Secret

PEER = "203.0.113.90"
NAMED = "203.0.113.91"
"""Where the names lead; no policy has it as an address."""
PORT = 443
QUEUED_PORT = 444
"""Connections here wait for the verdict of a queue, where there is one (nfqueue.py)."""
SERVERS = 8
"""That peer.py runs."""
HERE = Path(__file__).parent
ZONE = "bench.test"
LOSSES_S = 0.3
"""The agent looks at the kernel's loss counters every quarter of a second."""


def host_name(number: int) -> str:
    """A host of a made-up policy."""
    return f"h{number:05}.{ZONE}"


def policy_text(hosts: int, mode: str = "block") -> str:
    """A policy with so many hosts, as a block of text: half names, half addresses."""
    names = [host_name(number) for number in range(hosts // 2)]
    names += [f"{name}:{SINK}" for name in names[:1]]
    addresses = [f"2001:db8:{number >> 8:x}:{number & 255:x}::1" for number in range(hosts // 2)]
    lines = "".join(f"  {host}\n" for host in names + addresses)
    # These are the far end, and make it a resolver whose answers are believed.
    lines += f"  {PEER}:*\n  udp://{PEER}:53\n  udp://{PEER}:{DISCARD}\n"
    return f"version: 1\nmode: {mode}\nallow: |\n{lines}"


def made_up_secrets(number: int) -> tuple[Secret, ...]:
    """So many secrets, new each time."""
    made = (tokens.home_made(f"TOKEN_{index}") for index in range(number))
    return tuple(Secret(token.name, token.value.encode()) for token in made)


def request(text: str, secrets: Sequence[Secret] = ()) -> ArmRequest:
    """Compile a policy to what an agent is armed with."""
    wish = Wish(policies=(Text("bench.yml", text),), secrets=tuple(secrets))
    return ArmRequest(policy=_canonical(wish), secrets=tuple(secrets), scope="cgroup")


def _canonical(wish: Wish) -> bytes:
    def nobody(_: Any) -> Any:
        raise AssertionError("the bench asks no package manager")

    return prepare.to_canonical(prepare.build(wish, nobody).policy)


class Worker:
    """A process that does what ``load.py`` can, in a cgroup."""

    def __init__(self, lab: Lab, group: Path) -> None:
        command = [sys.executable, "-S", "-E", str(HERE / "load.py")]
        self._process = lab.popen(
            cgroup.command_in(group, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def begin(self, work: str, **order: Any) -> None:
        """Order something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"work": work, **order}) + "\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for what was ordered."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def do(self, work: str, **order: Any) -> dict[str, Any]:
        """Order something and wait for it."""
        self.begin(work, **order)
        return self.result()

    def close(self) -> None:
        """Let it end."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(10)


class RunnersWorker:
    """Stands in for the runner's worker, with which an agent ends: this ends with us, whatever
    becomes of us. It is not our own process: what a worker starts, and itself, may end no guard.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self.pid = self._process.pid

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


class Guard:
    """An agent that guards one cgroup, started as `leakstop start` does."""

    def __init__(self, lab: Lab, group: Path, armed: ArmRequest, name: str) -> None:
        self.group = group
        self.run_dir = lab.directory / name
        command = [sys.executable, "-m", "leakstop", "start", "--prepared", "-"]
        command += ["--cgroup", str(group), "--run-dir", str(self.run_dir)]
        self._worker = RunnersWorker()
        command += ["--worker", str(self._worker.pid)]
        # Not lab.run(): that waits until no connection is open, and others' may be.
        process = lab.popen(
            command,
            env={"PYTHONPATH": str(AGENT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, said = process.communicate(json.dumps(request_to_json(armed)), timeout=60)
        if process.returncode:
            raise RuntimeError(f"the guard was not armed: {said}")
        self._client = AgentClient.connect(self.run_dir)
        self.pid = int(self._client.status()["pid"])
        self.journal = self.run_dir / "events.ndjson"

    def memory_mib(self) -> dict[str, float]:
        """``VmRSS`` and ``VmHWM`` of the agent."""
        with open(f"/proc/{self.pid}/status") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}

    def cpu_s(self) -> float:
        """Processor time of the agent so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self) -> float:
        """Wait until the agent has read all there is; the time when it had."""
        size, changed = -1, time.monotonic()
        while True:
            with self._alive() as client:
                client.status()  # it answers between two batches of events
            now = self.journal.stat().st_size
            if now == size:
                time.sleep(LOSSES_S)
                return changed
            size, changed = now, time.monotonic()
            time.sleep(0.02)

    def report(self) -> Report:
        """The report as it stands."""
        with self._alive() as client:
            return client.report()

    def close(self) -> None:
        """End the agent."""
        with self._alive() as client:
            client.finish()
        client.close()
        self._worker.close()

    @contextmanager
    def _alive(self) -> Iterator[AgentClient]:
        """An agent that died costs nothing any more: no figure may come of it."""
        try:
            yield self._client
        except CoverageError as error:
            log = (self.run_dir / "agent.log").read_text(errors="replace")
            raise RuntimeError(f"the agent died:\n{log[-2000:]}") from error


class Stage:
    """The lab with a quick far end; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._numbers = count(1)

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.lab = stack.enter_context(Lab())
            self._far_end(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """A worker without a guard, in a cgroup of its own all the same."""
        with cgroup.child() as group, ExitStack() as stack:
            yield self._worker(group, stack)

    @contextmanager
    def guarded(
        self, armed: ArmRequest, workers: int = 1
    ) -> Iterator[tuple[Guard, tuple[Worker, ...]]]:
        """A guard, and workers under it."""
        with cgroup.child() as group, ExitStack() as stack:
            guard = Guard(self.lab, group, armed, f"guard-{next(self._numbers)}")
            stack.callback(guard.close)
            yield guard, tuple(self._worker(group, stack) for _ in range(workers))

    def _worker(self, group: Path, stack: ExitStack) -> Worker:
        worker = Worker(self.lab, group)
        stack.callback(worker.close)
        return worker

    def _far_end(self, stack: ExitStack) -> None:
        certificate = self.lab.directory / "far-end.pem"
        issued = trustme.CA().issue_cert(f"*.{ZONE}")
        issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))

        def begin() -> subprocess.Popen[str]:
            for address in (PEER, NAMED):
                add = ["ip", "address", "add", f"{address}/32", "dev", "service0"]
                subprocess.run(add, check=True)
            command = [sys.executable, "-S", "-E", str(HERE / "peer.py"), PEER, NAMED]
            command += [str(certificate), str(PORT), str(QUEUED_PORT)]
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

        process = stack.enter_context(self.lab.services.call(begin))
        assert process.stdout is not None
        for _ in range(SERVERS):
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the far end did not start")
