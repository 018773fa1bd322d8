# SPDX-License-Identifier: MIT
"""Runs many cells one after the other, and says what became of each secret."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cover.cells import SENDERS, Cell
from lab import Lab
from lab.collector import longest_run
from lab.guard import Guarded, guard

PREVENTED, DETECTED, SAID = "prevented", "detected", "not inspected"
OUTCOMES = (PREVENTED, DETECTED, SAID)
"""Nothing else may become of a secret. Not inspected is one only if the report says so."""
RED = ("high", "critical")
CELL_S = 8
RUN_S = 150


def build(directory: Path) -> dict[str, Path]:
    """Make the Go programs."""
    made = {}
    for name, flags, cgo in (("go", "", "1"), ("go-stripped", "-s -w", "0")):
        made[name] = directory / name
        command = ["go", "build", f"-ldflags={flags}", "-o", str(made[name]), "send.go"]
        env = {**os.environ, "CGO_ENABLED": cgo, "GOCACHE": str(directory / "cache")}
        subprocess.run(command, cwd=SENDERS, env=env, check=True, timeout=100)
    return made


def script(lab: Lab, cells: Iterable[Cell], programs: Mapping[str, Path]) -> list[str]:
    """A command that runs the cells in turn, whatever becomes of each."""
    places = []
    for cell in cells:
        place = lab.directory / f"{cell}.sh"
        place.write_text(cell.command(lab.directory, programs) + "\n")
        places.append(str(place))
    turn = f'for cell; do timeout {CELL_S} sh "$cell" >/dev/null 2>&1; done; true'
    return ["sh", "-c", turn, "sh", *places]


def left(lab: Lab, cell: Cell) -> int:
    """How many bytes of the secret arrived in one piece, in whatever form it was sent."""
    if cell.channel == "dns":
        asked = [q.name.lower() for q in lab.dns.questions if q.name.lower().endswith(cell.host)]
        texts = [name[: -len(cell.host)].replace(".", "").encode() for name in asked]
    else:
        everything = lab.collector.connections
        mine = [seen for seen in everything if seen.is_for(cell.host)]
        texts = [bytes(data) for seen in mine for data in seen.data]
        # Whoever puts datagrams together again knows them by where they come from.
        peers = {seen.peer for seen in mine if seen.peer}
        texts.append(b"".join(seen.plain for seen in everything if seen.peer in peers))
    return max(longest_run(piece, texts) for piece in cell.pieces)


def guarded(lab: Lab, cells: Sequence[Cell], programs: Mapping[str, Path]) -> Guarded:
    """Run the cells in audit mode; each secret belongs at home.test."""
    homes = "".join(f"  {cell.token.name}: home.test\n" for cell in cells)
    return guard(
        lab,
        script(lab, cells, programs),
        mode="audit",
        policy=f"version: 1\nallow: home.test\nsecrets:\n{homes}",
        secrets=[cell.token for cell in cells],
        timeout_s=RUN_S,
    )


def outcome(lab: Lab, run: Guarded, cell: Cell) -> str:
    """What became of the cell's secret: one of ``OUTCOMES``, or what went wrong instead."""
    arrived = left(lab, cell)
    red = [finding for finding in run.findings() if _is_about(finding, cell)]
    if arrived and any(finding["bytes_left"] == 0 for finding in red):
        return f"{arrived} bytes left, and the report says 0"
    if red:
        return DETECTED if arrived else PREVENTED
    if not arrived:
        return "nothing arrived, and nothing was said"
    return SAID if is_listed(run, cell) else f"{arrived} bytes left, and nobody said so"


def _is_about(finding: Mapping[str, Any], cell: Cell) -> bool:
    return finding["secret"] == cell.token.name and finding["severity"] in RED


def is_listed(run: Guarded, cell: Cell) -> bool:
    """Whether the report lists the cell's connection as not inspected."""
    flows = (flow for flow in run.report["flows"] if flow["host"] == cell.host)
    return any(flow["uninspected"] for flow in flows)
