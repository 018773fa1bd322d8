# SPDX-License-Identifier: MIT
"""Write the table of formats in ``docs/secrets.md`` from ``leakstop.secrets.catalogue``.

``--check`` changes nothing and fails when the table is not up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "secrets.md"
BEGIN = "<!-- formats: written by tools/gen_formats.py -->\n"
END = "<!-- formats end -->\n"
sys.path.insert(0, str(ROOT / "agent"))

from generated import between, keep  # noqa: E402 - beside this file
from leakstop.secrets.catalogue import FORMATS  # noqa: E402 - found through the line above
from leakstop.secrets.shape import Format  # noqa: E402


def table() -> str:
    """One row for each kind: entries that differ in how they are known only are one kind."""
    return "".join(dict.fromkeys(_rows()))


def _rows() -> Iterator[str]:
    yield "| Format | Provider | Home |\n"
    yield "|---|---|---|\n"
    for form in FORMATS:
        ends = ", ends with the job" if form.short_lived else ""
        yield f"| {form.kind}{ends} | {form.provider or '–'} | {_home(form)} |\n"


def _home(form: Format) -> str:
    if form.own_home:
        return "the host in it"
    return ", ".join(f"`{word}`" for word in form.home) or "–"


def main() -> int:
    """Write the table, or compare it."""
    return keep(TARGET, between(TARGET, BEGIN, END, table()), __doc__)


if __name__ == "__main__":
    sys.exit(main())
