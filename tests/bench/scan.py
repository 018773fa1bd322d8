# SPDX-License-Identifier: MIT
"""What the kernel's scan for secrets costs a byte, by how many there are and in which data."""

from __future__ import annotations

import os
import sys
import zlib
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from statistics import median

from bench.figures import heading, table, target
from bench.stage import made_up_secrets
from bpf.harness import PAGES, WINDOW, DataPlane
from leakstop.policy.rules import Policy
from leakstop.policy.tables import compile_tables
from leakstop.secrets.inventory import Secret
from leakstop.secrets.needles import NeedleTable, table_of

SECRETS = (1, 10, 500, 1_000)
COMPARED, MANY = 10, 500
"""What is promised: as many secrets cost what few do."""
SLOWEST_NS, NOISE = 1.0, 1.05
SHORT = 8
"""Characters of the shortest secret that is taken."""
TIMES = 20
"""Runs of which the kernel takes the mean."""
_ROOT = Path(__file__).resolve().parents[2]


def scan(rounds: int) -> None:
    """Tables take turns with each kind of data; the middle value counts."""
    heading("The kernel's scan for secrets: nanoseconds a byte (BPF_PROG_TEST_RUN)")
    tables = {f"{number:,}": table_of(made_up_secrets(number)) for number in SECRETS}
    short = Secret("SHORT", os.urandom(SHORT).hex()[:SHORT].encode())
    tables[f"{COMPARED}, one short"] = table_of([*made_up_secrets(COMPARED), short])
    rows = []
    with ExitStack() as stack:
        planes = {label: stack.enter_context(_plane(found)) for label, found in tables.items()}
        for (kind, data), no_hpack in product(_data().items(), (False, True)):
            for plane in planes.values():
                plane.fill_pages(data, no_hpack=no_hpack)
            took: dict[str, list[float]] = {label: [] for label in planes}
            for _ in range(rounds):
                for label, plane in planes.items():
                    took[label].append(plane.scan_ns(TIMES))
            rows.append((f"{kind}, no HTTP/2" if no_hpack else kind, took))
    columns = [f"{label} secrets" for label in tables]
    table(
        ("", *columns, f"{MANY} : {COMPARED}", ""),
        [
            (kind, *(f"{median(took[label]):.2f}" for label in tables), *_ratio(took))
            for kind, took in rows
        ],
    )
    print(f"  needles: {', '.join(f'{len(found.cores):,}' for found in tables.values())}")


def _ratio(took: dict[str, list[float]]) -> tuple[str, str]:
    """Many against few, and whether both promises are kept."""
    many, few = took[f"{MANY:,}"], took[f"{COMPARED:,}"]
    ratio = median(one / other for one, other in zip(many, few, strict=True))
    worst = max(ratio / NOISE, median(many) / SLOWEST_NS)
    return f"{ratio:.2f}", target(worst, 1)


def _plane(needles: NeedleTable) -> DataPlane:
    policy = Policy()
    return DataPlane(policy, compile_tables(policy), needles)


def _data() -> dict[str, bytes]:
    size = PAGES * WINDOW
    text = b"".join(path.read_bytes() for path in sorted((_ROOT / "docs").glob("*.md")))
    sources = b"".join(path.read_bytes() for path in sorted((_ROOT / "agent").rglob("*.py")))
    program = Path(sys.executable).resolve().read_bytes()
    kinds = {"text": text, "a program": program, "compressed": zlib.compress(sources)}
    repeated = {kind: (data * (size // len(data) + 1))[:size] for kind, data in kinds.items()}
    return {"random": os.urandom(size), **repeated}
