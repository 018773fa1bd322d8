# SPDX-License-Identifier: MIT
"""Write the table of formats in ``docs/secrets.md`` from ``leakstop.secrets.catalogue``.

``--check`` changes nothing and fails when the table is not up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "secrets.md"
BEGIN = "<!-- formats: written by tools/gen_formats.py -->\n"
END = "<!-- formats end -->\n"
sys.path.insert(0, str(ROOT / "agent"))

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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    before = TARGET.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    after = f"{head}{BEGIN}\n{table()}\n{END}{tail}"
    if parser.parse_args().check:
        if before == after:
            return 0
        print(f"{TARGET.relative_to(ROOT)} is not up to date: run {Path(__file__).name}")
        return 1
    TARGET.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
