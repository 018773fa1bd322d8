# SPDX-License-Identifier: MIT
"""What the agent itself takes: memory, and how many events it keeps up with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.costs import connecting
from bench.figures import heading, table, target
from bench.stage import Guard, Stage, Worker, made_up_secrets, policy_text, request

TARGET_MIB = 40
THOUSANDS = 10_000
STORM_S = 1.5
LONG_STORM_S = 6.0
"""Long enough to fill the kernel's ring, which holds some 26,000 connections, and then some."""
STEPS = 5
PROMPT_S = 0.25
"""An agent that is further behind than this when the storm ends did not keep up with it."""


def memory(stage: Stage) -> None:
    """Resident memory over ten thousand execs and as many connections."""
    heading(f"Memory of the agent, kernel sensor, 10 hosts, 3 secrets (MiB; target {TARGET_MIB})")
    rows = []
    with stage.guarded(request(policy_text(10), made_up_secrets(3)), 2) as (guard, workers):

        def note(when: str, *, promised: bool = True) -> None:
            guard.settle()
            now = guard.memory_mib()
            limit = target(now["VmHWM"], TARGET_MIB) if promised else "–"
            rows.append((when, f"{now['VmRSS']:.1f}", f"{now['VmHWM']:.1f}", limit))

        half = THOUSANDS // 2
        note("armed")
        _together(workers, work="exec", count=half)
        note("10,000 execs later")
        _together(workers, **connecting(), ports=100, count=half)
        note("10,000 connections to 100 destinations later")
        guard.report()
        note("report asked for")
        workers[0].do(**connecting(), ports=THOUSANDS, count=THOUSANDS)
        note("10,000 connections to 10,000 destinations later", promised=False)
        guard.report()
        note("report asked for", promised=False)
    table(("", "VmRSS", "VmHWM", "peak"), rows)


@dataclass(frozen=True)
class Storm:
    """What came of one storm."""

    rate: float
    """Operations a second."""
    events: float
    """Events a second that reached the journal, up to the last of them."""
    lost: int
    behind_s: float
    """How long the agent still worked when the storm was over."""
    peak_mib: float
    """The most memory that the agent has had."""

    @property
    def survived(self) -> bool:
        """Whether this could have gone on for any length of time."""
        return not self.lost and self.behind_s <= PROMPT_S


def events(stage: Stage) -> None:
    """Look for the highest rate without loss, then push beyond it."""
    heading(f"Events without loss: storms of {STORM_S} s by two processes, 10 hosts, audit mode")
    rows = []
    for name, order in (("connect", connecting()), ("exec", {"work": "exec"})):
        with stage.guarded(request(policy_text(10, "audit")), 2) as (guard, workers):
            flat_out = _storm(guard, workers, order, 0)
            if not flat_out.survived:
                best = _search(guard, workers, order, flat_out.rate)
                rows.append(_storm_row(f"{name}, highest rate sustained", best))
            rows.append(_storm_row(f"{name}, as fast as it goes", flat_out))
            beyond = _storm(guard, workers, order, 0, LONG_STORM_S)
            rows.append(_storm_row(f"{name}, the same for {LONG_STORM_S:.0f} s", beyond))
    columns = ("", "operations/s", "events/s", "lost", "agent behind s", "peak MiB")
    table(columns, rows)


def _search(
    guard: Guard, workers: Sequence[Worker], order: dict[str, object], too_much: float
) -> Storm:
    """Halve the interval between what is survived and what is not."""
    best, low, high = Storm(0, 0, 0, 0, 0), 0.0, too_much
    for _ in range(STEPS):
        storm = _storm(guard, workers, order, (low + high) / 2)
        if storm.survived:
            best, low = storm, (low + high) / 2
        else:
            high = (low + high) / 2
    return best


def _storm(
    guard: Guard,
    workers: Sequence[Worker],
    order: dict[str, object],
    rate: float,
    seconds: float = STORM_S,
) -> Storm:
    lost, lines = guard.report().coverage.lost_events, _lines(guard)
    began = time.monotonic()
    results = _together(workers, **order, seconds=seconds, rate=rate / len(workers))
    ended = time.monotonic()
    last = guard.settle()
    return Storm(
        rate=sum(result["done"] / result["seconds"] for result in results),
        events=(_lines(guard) - lines) / (max(last, ended) - began),
        lost=guard.report().coverage.lost_events - lost,
        behind_s=max(0.0, last - ended),
        peak_mib=guard.memory_mib()["VmHWM"],
    )


def _storm_row(name: str, storm: Storm) -> tuple[str, ...]:
    return (
        name,
        f"{storm.rate:,.0f}",
        f"{storm.events:,.0f}",
        f"{storm.lost:,}",
        f"{storm.behind_s:.2f}",
        f"{storm.peak_mib:.0f}",
    )


def _together(workers: Sequence[Worker], **order: object) -> list[dict[str, float]]:
    """Let all workers do the same at once."""
    for worker in workers:
        worker.begin(**order)
    return [worker.result() for worker in workers]


def _lines(guard: Guard) -> int:
    with guard.journal.open("rb") as journal:
        return sum(block.count(b"\n") for block in iter(lambda: journal.read(1 << 20), b""))
