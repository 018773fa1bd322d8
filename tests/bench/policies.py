# SPDX-License-Identifier: MIT
"""How long policies of many hosts take to read and compile."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from bench.figures import heading, table
from bench.stage import ZONE, host_name
from leakstop.bpf import fill
from leakstop.cli.prepare import preset_texts
from leakstop.policy.canonical import from_canonical, to_canonical
from leakstop.policy.merge import Given, build, gather
from leakstop.policy.presets import Presets
from leakstop.policy.tables import compile_tables
from leakstop.secrets.needles import table_of
from leakstop.sensor.load import load

SIZES = {10: 9, 10_000: 3, 50_000: 1}
"""Hosts, and how often."""
CONDITIONS = 250
"""Different ports in the last policy: with the presets' own, no more than the kernel's 256."""


def policies() -> None:
    """Each step from text to full maps, on both sides of the border between users."""
    heading(
        "A policy of many hosts as a block of text: processor seconds, and × that of 10 names.\n"
        "Read, merge, write: an ordinary user. Take, tables, maps: root."
    )
    presets = Presets(preset_texts())
    rows = []
    first = 0.0
    for label, lines in LISTS.items():
        for hosts, times in SIZES.items():
            text = "version: 1\nmode: block\nallow: |\n" + "".join(f"  {x}\n" for x in lines(hosts))
            rounds = [_steps(text, presets) for _ in range(times)]
            steps = [median(step) for step in zip(*rounds, strict=True)]
            whole = sum(steps)
            first = first or whole
            per_host = f"{whole / hosts * 1e6:.0f}"
            figures = (*(f"{step:.3f}" for step in steps), f"{whole:.3f}")
            rows.append((f"{hosts:,} {label}", *figures, f"{whole / first:,.0f}", per_host))
    columns = ("read", "merge", "write", "take", "tables", "maps", "all", "ratio", "µs a host")
    table(("", *columns), rows)


def _names(hosts: int) -> list[str]:
    return [host_name(number) for number in range(hosts)]


def _mixed(hosts: int) -> list[str]:
    """Seven names, a pattern, and two addresses out of ten."""
    lines = _names(hosts)
    for number in range(0, hosts, 10):
        lines[number] = f"{'*' * (number // 10 % 2 + 1)}.w{number}.{ZONE}"
        lines[number + 1] = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        lines[number + 2] = f"2001:db8:{number >> 8:x}:{number & 255:x}::1"
    return lines


def _ports(hosts: int) -> list[str]:
    """Names on many ports, in turns."""
    return [f"{name}:{1000 + number % CONDITIONS}" for number, name in enumerate(_names(hosts))]


LISTS: dict[str, Callable[[int], list[str]]] = {
    "names": _names,
    "names, patterns, addresses": _mixed,
    f"names on {CONDITIONS} ports": _ports,
}
"""What long policies are made of."""


def _steps(text: str, presets: Presets) -> list[float]:
    """Processor time of each step, once."""
    marks = [time.process_time()]
    gathered = gather([Given("bench.yml", text)], loader=_no_file, presets=presets)
    marks.append(time.process_time())
    policy = build(gathered, {}).policy
    marks.append(time.process_time())
    written = to_canonical(policy)
    marks.append(time.process_time())
    taken = from_canonical(written)
    marks.append(time.process_time())
    tables = compile_tables(taken)
    marks.append(time.process_time())
    needles = table_of(())
    loaded = load(taken, tables, needles)  # the same for every policy; `arming` has it
    marks.append(time.process_time())
    fill.fill(loaded, taken, tables, needles, ())
    marks.append(time.process_time())
    loaded.close()
    steps = [after - before for before, after in pairwise(marks)]
    del steps[-2]
    return steps


def _no_file(name: str) -> str:
    raise AssertionError(f"{name} is not asked for")
