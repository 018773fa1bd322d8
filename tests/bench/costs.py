# SPDX-License-Identifier: MIT
"""What one connection, one lookup and one exec cost with the guard, against without."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bench import programs
from bench.figures import Compared, heading, table
from bench.stage import (
    PEER,
    PORT,
    Guard,
    Stage,
    Worker,
    host_name,
    made_up_secrets,
    policy_text,
    request,
)

HOSTS = (10, 1_000, 50_000)
SECRETS = (0, 3, 100)
LONG = 128 * 1024 - 1
"""Bytes of the longest argument that Linux takes (MAX_ARG_STRLEN, with its NUL)."""
PAUSE_S = 0.03
"""After each turn: what an agent still works on would count for the next worker."""

Order = Mapping[str, Any]


def query(name: str) -> str:
    """A question for the address of a name, in hexadecimal (RFC 1035)."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return (bytes.fromhex("000001000001000000000000") + labels + b"\0\0\1\0\1").hex()


def names_of(hosts: int) -> list[str]:
    """Some of the names that a policy of so many hosts allows, from all over its list."""
    return [host_name(number) for number in range(0, hosts // 2, max(1, hosts // 32))]


def connecting() -> Order:
    """TCP to the far end."""
    return {"work": "connect", "address": PEER, "port": PORT}


def looking_up(hosts: int) -> Order:
    """A question that a policy of so many hosts allows."""
    return {
        "work": "lookup",
        "resolver": PEER,
        "names": [query(asked) for asked in names_of(hosts)],
    }


def take_turns(
    bare: Worker, guarded: Sequence[Worker], orders: Sequence[Order], rounds: int
) -> list[Compared]:
    """Let every worker do its order in each round, and compare with the first one's.

    ``orders`` has one for each guarded worker; the one without a guard does each of them, too.
    Who begins changes from round to round.
    """
    cpu = min(os.sched_getaffinity(0))
    turns = [(side, number) for number in range(len(guarded)) for side in (0, 1)]
    took: dict[tuple[int, int], list[float]] = {turn: [] for turn in turns}
    for round_ in range(rounds):
        at = round_ % len(turns)
        for side, number in turns[at:] + turns[:at]:
            worker = guarded[number] if side else bare
            took[side, number].append(worker.do(**orders[number], cpu=cpu)["ns"] / 1000)
            time.sleep(PAUSE_S)
    return [Compared.of(took[0, number], took[1, number]) for number in range(len(guarded))]


def print_compared(label: str, rows: Sequence[tuple[str, Compared]]) -> None:
    """Print ratios and microseconds."""
    table(
        (label, "without µs", "ratio", "added µs", "ratio of fastest"),
        [
            (name, f"{one.bare:.1f}", f"{one.ratio:.2f}", f"{one.added:+.1f}", f"{one.fastest:.2f}")
            for name, one in rows
        ],
    )


def hosts(stage: Stage, rounds: int) -> None:
    """Connect, look up and exec under policies of different lengths."""
    with ExitStack() as stack:
        bare = stack.enter_context(stage.worker())
        guards: list[Guard] = []
        workers: list[Worker] = []
        for number in HOSTS:
            guard, (worker,) = stack.enter_context(stage.guarded(request(policy_text(number))))
            guards.append(guard)
            workers.append(worker)
        heading("With the guard against without, by hosts in the policy (block mode, no secrets)")
        works: dict[str, list[Order]] = {
            "connect": [{**connecting(), "count": 200}] * len(HOSTS),
            "DNS lookup": [{**looking_up(number), "count": 200} for number in HOSTS],
            "exec /bin/true": [{"work": "exec", "count": 40}] * len(HOSTS),
        }
        for name, orders in works.items():
            compared = take_turns(bare, workers, orders, rounds)
            labels = [f"{number:,} hosts" for number in HOSTS]
            print_compared(name, list(zip(labels, compared, strict=True)))
        _in_kernel(list(zip(HOSTS, guards, workers, strict=True)))
        lost = sum(guard.report().coverage.lost_events for guard in guards)
        print(f"  events lost: {lost}", flush=True)


def _in_kernel(arms: Sequence[tuple[int, Guard, Worker]]) -> None:
    """The same without the rest of the machine: what the kernel counts for our programs."""
    heading("Time in our programs, counted by the kernel (nanoseconds a run)")
    columns: dict[str, dict[int, str]] = {}
    with programs.counting():
        for number, guard, worker in arms:
            before = {one.name: one for one in programs.of_process(guard.pid)}
            worker.do(**connecting(), count=500)
            worker.do(**looking_up(number), count=500)
            worker.do("exec", count=100)
            for after in programs.of_process(guard.pid):
                runs = after.runs - before[after.name].runs
                ns = after.run_ns - before[after.name].run_ns
                if runs >= 100:
                    columns.setdefault(after.name, {})[number] = f"{ns / runs:.0f}"
    table(
        ("program", *(f"{number:,} hosts" for number in HOSTS)),
        [(name, *(row.get(number, "–") for number in HOSTS)) for name, row in columns.items()],
    )


def secrets(stage: Stage, rounds: int) -> None:
    """Exec with a short and a long command line, by the number of secrets looked for."""
    with ExitStack() as stack:
        bare = stack.enter_context(stage.worker())
        workers: list[Worker] = []
        for number in SECRETS:
            armed = request(policy_text(10), made_up_secrets(number))
            workers.append(stack.enter_context(stage.guarded(armed))[1][0])
        heading("exec with the guard against without, by secrets (block mode, 10 hosts)")
        for label, size in (("exec, short argv", 0), ("exec, argv of 128 KiB", LONG)):
            orders = [{"work": "exec", "count": 30, "argument": size}] * len(SECRETS)
            compared = take_turns(bare, workers, orders, rounds)
            labels = [f"{number} secrets" for number in SECRETS]
            print_compared(label, list(zip(labels, compared, strict=True)))
