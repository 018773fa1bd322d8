# SPDX-License-Identifier: MIT
"""Blocks of Markdown. Cells and lines are escaped by whoever makes them."""

from __future__ import annotations

from collections.abc import Sequence

MAX_ROWS = 100
"""Rows of a table; GitHub drops a summary above 1 MiB as a whole."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Draw a table; rows beyond ``MAX_ROWS`` are counted, not shown."""
    lines = [_row(heads), "|" + "---|" * len(heads)]
    lines += [_row(row) for row in rows[:MAX_ROWS]]
    if len(rows) > MAX_ROWS:
        lines += ["", f"… and {len(rows) - MAX_ROWS:,} more rows; `report.json` has all of them."]
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def folded(title: str, body: Sequence[str]) -> list[str]:
    """Fold ``body`` under ``title``, a constant with numbers."""
    # The blank lines make the parser read the body as Markdown again.
    return [f"<details><summary>{title}</summary>", "", *body, "", "</details>"]


def count_word(count: int) -> str:
    """``one`` … ``nine``, then figures."""
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[count] if count < len(words) else str(count)
