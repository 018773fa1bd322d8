# SPDX-License-Identifier: MIT
"""What connections, lookups, packets and execs cost with the guard, against without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench import programs
from bench.figures import Compared, heading, table
from bench.peer import DISCARD, ECHO
from bench.stage import (
    NAMED,
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
from bench.turns import Order, Turn, take_turns

HOSTS = (10, 1_000, 50_000)
SECRETS = (0, 3, 100)
LONG = 128 * 1024 - 1
"""Bytes of the longest argument that Linux takes (MAX_ARG_STRLEN, with its NUL)."""
NOISE = "no guard"
"""Nothing against nothing: how far from 1 a ratio is for no reason."""
OFTEN = 0.9
"""Runs each time from which a program is shown; the rarer ones are others' or once for many."""


def query(name: str) -> str:
    """A question for the address of a name, in hexadecimal (RFC 1035)."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return (bytes.fromhex("000001000001000000000000") + labels + b"\0\0\1\0\1").hex()


def names_of(hosts: int) -> list[str]:
    """Some of the names that a policy of so many hosts allows, from all over its list."""
    return [host_name(number) for number in range(0, hosts // 2, max(1, hosts // 32))]


def connecting(port: int = PORT) -> Order:
    """TCP to the far end."""
    return {"work": "connect", "address": PEER, "port": port}


def looking_up(hosts: int) -> Order:
    """A question that a policy of so many hosts allows."""
    return {
        "work": "lookup",
        "resolver": PEER,
        "names": [query(asked) for asked in names_of(hosts)],
    }


def shaking_hands(hosts: int) -> Order:
    """TLS with names that a policy of so many hosts allows, where their answers lead."""
    return {"work": "handshake", "address": NAMED, "port": 443, "sni": names_of(hosts)}


def works(hosts: int) -> Mapping[str, Order]:
    """What is compared. ``count`` is how often in a turn, ``parts`` what one consists of."""
    echo, discard = {"address": PEER, "port": ECHO}, {"address": PEER, "port": DISCARD}
    return {
        "connect": {**connecting(), "count": 200},
        "DNS lookup": {**looking_up(hosts), "count": 200},
        "first byte": {**echo, "work": "first byte", "count": 100},
        "TLS handshake, first byte": {**shaking_hands(hosts), "count": 20},
        "TCP, a round trip": {**echo, "work": "round trips", "parts": 200, "count": 5},
        "TLS, a round trip": {
            **shaking_hands(hosts),
            "work": "sealed round trips",
            "parts": 200,
            "count": 5,
        },
        "TCP, a MiB": {**discard, "work": "bulk", "parts": 32, "count": 3},
        "UDP, a datagram": {**discard, "work": "datagrams", "parts": 2000, "count": 5},
        "exec /bin/true": {"work": "exec", "count": 40},
    }


def print_compared(label: str, rows: Sequence[tuple[str, Compared]]) -> None:
    """Print ratios and microseconds."""
    table(
        (label, "without µs", "ratio", "added µs", "ratio of fastest"),
        [
            (name, f"{one.bare:.1f}", f"{one.ratio:.2f}", f"{one.added:+.2f}", f"{one.fastest:.2f}")
            for name, one in rows
        ],
    )


def hosts(stage: Stage, rounds: int) -> None:
    """Connections, lookups, packets and execs under policies of different lengths."""
    with ExitStack() as stack:
        bare = stack.enter_context(stage.worker())
        guards: list[Guard] = []
        workers: list[Worker] = []
        for number in HOSTS:
            guard, (worker,) = stack.enter_context(stage.guarded(request(policy_text(number))))
            guards.append(guard)
            workers.append(worker)
            # So that TLS goes where allowed names led.
            worker.do(**looking_up(number), count=len(names_of(number)))
        other = stack.enter_context(stage.worker())
        heading("With the guard against without, by hosts in the policy (block mode, no secrets)")
        for name, order in works(HOSTS[0]).items():
            pairs = {NOISE: (Turn(bare, order), Turn(other, order))}
            for number, worker in zip(HOSTS, workers, strict=True):
                order = works(number)[name]
                pairs[f"{number:,} hosts"] = (Turn(bare, order), Turn(worker, order))
            compared = take_turns(list(pairs.values()), rounds)
            print_compared(name, list(zip(pairs, compared, strict=True)))
        labels, orders = [f"{number:,} hosts" for number in HOSTS], list(map(works, HOSTS))
        in_kernel(labels, guards, workers, orders)
        lost = sum(guard.report().coverage.lost_events for guard in guards)
        print(f"  events lost: {lost}", flush=True)


def scopes(stage: Stage, rounds: int) -> None:
    """Connections, datagrams and execs, where a rule asks who it is and where none does."""
    with ExitStack() as stack:
        asks = f"{policy_text(10)}deny: {{host: nowhere.test, step: publish, process: curl}}\n"
        guards, workers = [], []
        for text in (policy_text(10), asks):
            guard, (worker,) = stack.enter_context(stage.guarded(request(text)))
            guards.append(guard)
            workers.append(worker)
        heading("With a scoped rule against without one (block mode, 10 hosts)")
        names = ("connect", "UDP, a datagram", "exec /bin/true")
        pairs = [tuple(Turn(worker, works(10)[name]) for worker in workers) for name in names]
        compared = take_turns([(bare, scoped) for bare, scoped in pairs], rounds)
        print_compared("", list(zip(names, compared, strict=True)))
        labels, orders = ("no scope", "scoped"), {name: works(10)[name] for name in names}
        in_kernel(labels, guards, workers, [orders, orders])


def in_kernel(
    labels: Sequence[str],
    guards: Sequence[Guard],
    workers: Sequence[Worker],
    orders: Sequence[Mapping[str, Order]],
) -> None:
    """The same without the rest of the machine: what the kernel counts for our programs."""
    heading("Time in our programs, counted by the kernel (nanoseconds a run)")
    rows = []
    with programs.counting():
        for name in orders[0]:
            spent = [
                _spent(guard, worker, order[name])
                for guard, worker, order in zip(guards, workers, orders, strict=True)
            ]
            for program, (often, _) in spent[0].items():
                cells = [f"{one[program][1]:.0f}" if program in one else "–" for one in spent]
                rows.append((name, program, f"{often:.1f}", *cells))
    table(("", "program", "runs", *labels), rows)


def _spent(guard: Guard, worker: Worker, order: Order) -> dict[str, tuple[float, float]]:
    """For each program that takes part: how often each time, and nanoseconds a run."""
    before = {one.name: one for one in programs.of_process(guard.pid)}
    times = worker.do(**order)["done"] * order.get("parts", 1)
    spent = {}
    for after in programs.of_process(guard.pid):
        if after.everywhere and order["work"] != "exec":
            continue  # others' processes
        runs = after.runs - before[after.name].runs
        if runs / times >= OFTEN:
            ns = after.run_ns - before[after.name].run_ns
            spent[after.name] = (runs / times, ns / runs)
    return spent


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
            order = {"work": "exec", "count": 30, "argument": size}
            pairs = [(Turn(bare, order), Turn(worker, order)) for worker in workers]
            labels = [f"{number} secrets" for number in SECRETS]
            print_compared(label, list(zip(labels, take_turns(pairs, rounds), strict=True)))
