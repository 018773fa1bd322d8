# SPDX-License-Identifier: MIT
"""The matching in the agent: pure Python, so against `zlib.crc32` over the same data."""

from __future__ import annotations

import base64
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.figures import heading, table
from bench.stage import made_up_secrets
from leakstop.secrets.masker import Masker
from leakstop.secrets.needles import table_of
from leakstop.secrets.shapes import find_shapes

PIECE = 64 * 1024
PIECES = 32
NUMBERS = (14, 500, 1000)
"""Secrets; 14 have 500 needles."""
_ROOT = Path(__file__).resolve().parents[2]


def matcher(rounds: int) -> None:
    """Building the table, scanning, looking for tokens of unknown value, masking."""
    heading("Tables of secrets: processor milliseconds to build, and to add one to")
    built = {}
    rows = []
    for number in NUMBERS:
        secrets = made_up_secrets(number)
        more = made_up_secrets(number + 1)[-1:]
        building = median(_spent(lambda s=secrets: table_of(s)) for _ in range(3))
        found = built[number] = table_of(secrets)
        adding = median(_spent(lambda f=found, m=more: f.extend(m)) for _ in range(3))
        sizes = (f"{len(found.cores):,}", f"{len(found.grams):,}", found.stride)
        rows.append((f"{number} secrets", *sizes, f"{building * 1e3:.0f}", f"{adding * 1e3:.1f}"))
    table(("", "needles", "grams", "stride", "build", "add"), rows)

    heading("Matching in the agent: MiB/s, and × the time of zlib.crc32 over the same data")
    works: dict[str, Callable[[bytes], object]] = {
        **{f"scan, {number} secrets": found.scan for number, found in built.items()},
        "tokens of known formats": find_shapes,
        "mask, 14 secrets": Masker(made_up_secrets(14)).mask_bytes,
    }
    data = {"random": os.urandom(PIECE * PIECES), "base64": b"", "source": b""}
    data["base64"] = base64.b64encode(data["random"])[: PIECE * PIECES]
    source = b"".join(path.read_bytes() for path in sorted((_ROOT / "agent").rglob("*.py")))
    data["source"] = (source * (1 + PIECE * PIECES // len(source)))[: PIECE * PIECES]
    rows = []
    for label, work in works.items():
        cells = []
        for whole in data.values():
            pieces = [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]
            turns = [(_over(pieces, work), _over(pieces, zlib.crc32)) for _ in range(rounds)]
            rate = PIECE * PIECES / median(mine for mine, _ in turns) / (1 << 20)
            ratio = median(mine / crc for mine, crc in turns)
            cells.append(f"{rate:.0f} ({ratio:.0f}×)")
        rows.append((label, *cells))
    table(("", *data), rows)


def _over(pieces: list[bytes], work: Callable[[bytes], object]) -> float:
    return _spent(lambda: [work(piece) for piece in pieces])


def _spent(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
