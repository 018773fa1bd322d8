# SPDX-License-Identifier: MIT
"""Write the tables in ``docs/coverage.md`` from the outcomes of ``tests/cover``.

``--check`` changes nothing and fails when the tables are not up to date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "coverage.md"
RESULTS = ROOT / "tests" / "cover" / "results.json"
BEGIN = "<!-- table: written by tools/gen_coverage.py -->\n"
END = "<!-- table end -->\n"
NONE = "–"
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "agent"))

from cover.cells import why_not  # noqa: E402 - found through the lines above
from cover.clients import CHANNELS, CLIENTS, LEFT_OUT  # noqa: E402
from cover.encodings import ENCODINGS, NAME_TITLES, NAMES  # noqa: E402
from generated import between, keep  # noqa: E402 - beside this file

PAIRS = [
    ("argv", "curl"),
    ("tls", "curl"),
    ("tls", "python"),
    ("http", "python"),
    ("tcp", "python"),
    ("udp", "python"),
]
"""Through which encodings are sent."""


def text(results: Mapping[str, str]) -> str:
    """All three tables."""
    return "\n".join(
        [
            "A secret as it is, by client and channel:\n",
            _by_client(results),
            "Every encoding, by channel and client:\n",
            _by_encoding(results),
            "In DNS names, asked for by Python:\n",
            _by_name(results),
        ]
    )


def _by_client(results: Mapping[str, str]) -> str:
    rows = [
        [CLIENTS[client], *(results.get(f"{channel}/raw/{client}", NONE) for channel in CHANNELS)]
        for client in CLIENTS
    ]
    reasons = [(reason, CLIENTS[client]) for (client, _), reason in LEFT_OUT.items()]
    return _table(["Client", *CHANNELS.values()], rows) + _left_out(reasons)


def _by_encoding(results: Mapping[str, str]) -> str:
    rows, reasons = [], []
    for name, encoding in ENCODINGS.items():
        outcomes = [results.get(f"{channel}/{name}/{client}", NONE) for channel, client in PAIRS]
        rows.append([encoding.title, *outcomes])
        reasons += [(why_not(encoding, *pair), encoding.title) for pair in PAIRS]
    columns = [f"{CHANNELS[channel]}, {client}" for channel, client in PAIRS]
    return _table(["Encoding", *columns], rows) + _left_out(reasons)


def _by_name(results: Mapping[str, str]) -> str:
    rows = []
    for name in NAMES:
        title = NAME_TITLES.get(name) or ENCODINGS[name].title
        rows.append([title, results.get(f"dns/{name}/python", NONE)])
    return _table(["Encoding", "Outcome"], rows)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _left_out(reasons: Iterable[tuple[str, str]]) -> str:
    """Reasons, and what they are about; an empty one is none."""
    grouped: dict[str, dict[str, None]] = {}
    for reason, about in reasons:
        if reason:
            grouped.setdefault(reason, {})[about] = None
    lines = [f"- {reason}: {'; '.join(about)}\n" for reason, about in grouped.items()]
    return f"\n{NONE} is left out:\n\n{''.join(lines)}"


def main() -> int:
    """Write the tables, or compare them."""
    groups = json.loads(RESULTS.read_text(encoding="utf-8"))
    results = {key: outcome for group in groups.values() for key, outcome in group.items()}
    return keep(TARGET, between(TARGET, BEGIN, END, text(results)), __doc__)


if __name__ == "__main__":
    sys.exit(main())
