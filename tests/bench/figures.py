# SPDX-License-Identifier: MIT
"""Medians, ratios, and how they are printed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Compared:
    """Something with the guard against the same without, measured in turns."""

    bare: float
    """Median without."""
    ratio: float
    """Median of the rounds' ratios: what drifts from round to round cancels out."""
    added: float
    """Median of the rounds' differences."""
    fastest: float
    """Ratio of the fastest rounds: what is left when the machine has nothing else to do."""

    @classmethod
    def of(cls, bare: Sequence[float], guarded: Sequence[float]) -> Compared:
        """Compare round by round."""
        rounds = list(zip(bare, guarded, strict=True))
        return cls(
            median(bare),
            median(with_ / without for without, with_ in rounds),
            median(with_ - without for without, with_ in rounds),
            min(guarded) / min(bare),
        )


def machine() -> str:
    """Where these figures are from: without that they mean nothing."""
    model = ""
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    load = os.getloadavg()[0]
    return (
        f"Linux {platform.release()} {platform.machine()} · {os.cpu_count()} CPUs {model} · "
        f"Python {platform.python_version()} · load {load:.1f} before this began"
    )


def heading(text: str) -> None:
    """Begin a section."""
    print(f"\n{text}", flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: the first column to the left, figures to the right."""
    cells = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        table_row(row, widths)


def table_row(cells: Sequence[str], widths: Sequence[int]) -> None:
    """Print one row, for a table that grows while one waits."""
    line = [cells[0].ljust(widths[0])]
    line += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    print("  " + "  ".join(line).rstrip(), flush=True)


def target(value: float, limit: float) -> str:
    """Say whether a figure is within what was promised."""
    return "within" if value <= limit else "ABOVE"
