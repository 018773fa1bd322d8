# SPDX-License-Identifier: MIT
"""How long policies of many hosts take to read and compile, and the reference scan for secrets."""

from __future__ import annotations

import base64
import os
import time
from itertools import pairwise
from statistics import median

from bench.figures import heading, table
from bench.stage import made_up_secrets, policy_text
from leakstop.cli.prepare import preset_texts
from leakstop.policy.canonical import from_canonical, to_canonical
from leakstop.policy.merge import Given, build, gather
from leakstop.policy.presets import Presets
from leakstop.policy.tables import compile_tables
from leakstop.secrets.needles import table_of

SIZES = {10: 9, 10_000: 3, 50_000: 1}
"""Hosts, and how often."""
SCANNED = 1 << 20


def policies() -> None:
    """Each step from text to tables."""
    heading("A policy of many hosts as a block of text: processor seconds, and × that of 10 hosts")
    rows = []
    first = 0.0
    presets = Presets(preset_texts())
    for hosts, times in SIZES.items():
        text = policy_text(hosts)
        steps = [_steps(text, presets) for _ in range(times)]
        parse, merge, transfer, compile_ = (median(step) for step in zip(*steps, strict=True))
        whole = parse + merge + transfer + compile_
        first = first or whole
        rows.append(
            (
                f"{hosts:,} hosts",
                *(f"{step:.3f}" for step in (parse, merge, transfer, compile_, whole)),
                f"{whole / first:,.0f}",
                f"{whole / hosts * 1e6:.0f}",
            )
        )
    table(("", "parse", "merge", "hand over", "tables", "all", "ratio", "µs a host"), rows)


def _steps(text: str, presets: Presets) -> list[float]:
    """Processor time of each step, once."""
    marks = [time.process_time()]
    gathered = gather([Given("bench.yml", text)], loader=_no_file, presets=presets)
    marks.append(time.process_time())
    policy = build(gathered, {}).policy
    marks.append(time.process_time())
    handed_over = from_canonical(to_canonical(policy))
    marks.append(time.process_time())
    compile_tables(handed_over)
    marks.append(time.process_time())
    return [after - before for before, after in pairwise(marks)]


def _no_file(name: str) -> str:
    raise AssertionError(f"{name} is not asked for")


def needles() -> None:
    """The reference scan in Python; the kernel's is in the table of execs."""
    heading("Scan for secrets, the reference in Python")
    data = base64.b64encode(os.urandom(SCANNED))[:SCANNED]
    rows = []
    for number in (3, 100):
        found = table_of(made_up_secrets(number))
        took = []
        for _ in range(3):
            began = time.process_time()
            found.scan(data)
            took.append(time.process_time() - began)
        rate = SCANNED / median(took) / (1 << 20)
        rows.append((f"{number} secrets", found.stride, f"{rate:.1f}"))
    table(("", "stride", "MiB/s"), rows)
