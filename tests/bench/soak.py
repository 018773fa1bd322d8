# SPDX-License-Identifier: MIT
"""A long job under guard: no event may be lost, and nothing may grow with time."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.costs import looking_up, shaking_hands
from bench.figures import heading, table, table_row
from bench.stage import NAMED, Guard, Stage, Worker, made_up_secrets, policy_text, request

EXECS, VISITS = 200, 50
"""A second: short processes, and connections, each of which looks its name up before."""
HOSTS = 1_000
LOOKS = 10
"""How often one looks at the agent."""
STOPPED_S = 10
TRUE = "/bin/true"
COLUMNS = ("after", "VmRSS MiB", "peak", "journal MiB", "events/s", "CPU", "µs CPU an event")
WIDTHS = tuple(max(6, len(column)) for column in COLUMNS)


@dataclass(frozen=True)
class Look:
    """The agent at one moment."""

    at_s: float
    events: int
    journal_mib: float
    cpu_s: float
    rss_mib: float
    peak_mib: float


def soak(stage: Stage, seconds: float, *, busy: bool) -> None:
    """Print how the agent fares, and compare its journal with what was done."""
    beside = ", processors kept busy" if busy else ""
    heading(
        f"{seconds:.0f} s with {EXECS} processes and {VISITS} connections a second "
        f"(block mode, {HOSTS:,} hosts, 3 secrets{beside})"
    )
    with ExitStack() as stack:
        armed = request(policy_text(HOSTS), made_up_secrets(3))
        guard, (execs, visits) = stack.enter_context(stage.guarded(armed, 2))
        if busy:
            stack.enter_context(_busy(stage, seconds))
        watch = Watch(guard)
        _begin(execs, visits, seconds)
        table_row(COLUMNS, WIDTHS)
        looks = [watch.look()]
        for number in range(LOOKS):
            watch.wait_until(seconds * (number + 1) / LOOKS)
            looks.append(watch.look())
            _print_look(looks[-2], looks[-1])
        done = {"exec": execs.result()["done"], "connect": visits.result()["done"]}
        behind_s = max(0.0, guard.settle() - watch.began - seconds)
        lost = guard.report().coverage.lost_events
        _print_account(seen_in(guard), done, lost, behind_s, looks)
        _stop(guard, execs, visits)


def _begin(execs: Worker, visits: Worker, seconds: float) -> None:
    execs.begin("exec", seconds=seconds, rate=EXECS)
    visiting = {**looking_up(HOSTS), **shaking_hands(HOSTS), "work": "visit"}
    visits.begin(**visiting, seconds=seconds, rate=VISITS)


def _stop(guard: Guard, execs: Worker, visits: Worker) -> None:
    """Keep the agent from reading for a while: the kernel's ring has to hold what happens."""
    before = guard.report().coverage.lost_events
    _begin(execs, visits, STOPPED_S)
    os.kill(guard.pid, signal.SIGSTOP)
    try:
        done = execs.result()["done"] + visits.result()["done"]
    finally:
        os.kill(guard.pid, signal.SIGCONT)
    guard.settle()
    lost = guard.report().coverage.lost_events - before
    print(f"  agent stopped for {STOPPED_S} s of the same, {done:,} tries: {lost} events lost")


class Watch:
    """Looks at an agent; reads its journal once, as it grows."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._read = 0
        self._events = 0
        self.began = time.monotonic()

    def wait_until(self, second: float) -> None:
        """Wait until so long after the beginning."""
        time.sleep(max(0.0, self.began + second - time.monotonic()))

    def look(self) -> Look:
        """See how it fares."""
        with self._guard.journal.open("rb") as journal:
            journal.seek(self._read)
            while block := journal.read(1 << 20):
                self._read += len(block)
                self._events += block.count(b"\n")
        memory = self._guard.memory_mib()
        return Look(
            at_s=time.monotonic() - self.began,
            events=self._events,
            journal_mib=self._read / (1 << 20),
            cpu_s=self._guard.cpu_s(),
            rss_mib=memory["VmRSS"],
            peak_mib=memory["VmHWM"],
        )


@contextmanager
def _busy(stage: Stage, seconds: float) -> Iterator[None]:
    """Let as many processes spin as there are processors, none of them under guard."""
    with ExitStack() as stack:
        for _ in os.sched_getaffinity(0):
            spinning = stack.enter_context(stage.worker())
            spinning.begin("spin", seconds=seconds)
            stack.callback(spinning.result)
        yield


def seen_in(guard: Guard) -> Counter[str]:
    """What the journal says that was done, by the kinds of events that must be there for each."""
    seen: Counter[str] = Counter()
    programs = set()
    with guard.journal.open("rb") as journal:
        for line in journal:
            event = json.loads(line)
            kind = event["kind"]
            if kind == "exec" and event["exe"] == TRUE:
                programs.add(event["pid"])
                seen["exec"] += 1
            elif kind == "exit" and event["pid"] in programs:
                programs.remove(event["pid"])
                seen["exit"] += 1
            elif kind == "connect" and event["ip"] == NAMED:
                seen["connect"] += 1
            elif kind in ("fork", "question", "answer"):
                seen[kind] += 1
    return seen


def _print_look(before: Look, now: Look) -> None:
    took, events = now.at_s - before.at_s, now.events - before.events
    spent = now.cpu_s - before.cpu_s
    cells = (
        f"{now.at_s:.0f} s",
        f"{now.rss_mib:.1f}",
        f"{now.peak_mib:.1f}",
        f"{now.journal_mib:.1f}",
        f"{events / took:,.0f}",
        f"{spent / took:.1%}",
        f"{spent / events * 1e6:.0f}" if events else "–",
    )
    table_row(cells, WIDTHS)


def _print_account(
    seen: Counter[str], done: dict[str, int], lost: int, behind_s: float, looks: Sequence[Look]
) -> None:
    """Hold the journal against what the workers say that they did."""
    expected = dict.fromkeys(("fork", "exec", "exit"), done["exec"])
    expected.update(dict.fromkeys(("question", "answer", "connect"), done["connect"]))
    rows = [
        (kind, f"{count:,}", f"{seen[kind]:,}", f"{max(0, count - seen[kind]):,}")
        for kind, count in expected.items()
    ]
    table(("event", "done", "in the journal", "missing"), rows)
    print(f"  events lost by the kernel's count: {lost}; agent behind at the end: {behind_s:.2f} s")
    grown = looks[-1].rss_mib - looks[LOOKS // 2].rss_mib
    print(f"  VmRSS grew by {grown:+.1f} MiB in the second half")
