# SPDX-License-Identifier: MIT
"""What the generators share: a file is written, or with ``--check`` only compared."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def between(target: Path, begin: str, end: str, content: str) -> str:
    """The text of ``target`` with ``content`` between two lines that it has."""
    before = target.read_text(encoding="utf-8")
    head, _, rest = before.partition(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.partition(end)[2]}"


def keep(target: Path, content: str, description: str | None) -> int:
    """Write ``content`` to ``target``, or compare them; return the exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="only compare")
    if not parser.parse_args().check:
        target.write_text(content, encoding="utf-8")
        return 0
    if target.is_file() and target.read_text(encoding="utf-8") == content:
        return 0
    print(f"{target.relative_to(ROOT)} is not up to date: run {Path(sys.argv[0]).name}")
    return 1
