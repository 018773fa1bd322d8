# SPDX-License-Identifier: MIT
"""Comparing output with files that people have read and found right."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "golden"


def check(folder: str, name: str, text: str) -> None:
    """Compare with ``tests/golden/folder/name``; ``UPDATE_GOLDEN=1`` writes it."""
    path = FOLDER / folder / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} is missing: run with UPDATE_GOLDEN=1 and read it"
    assert text == path.read_text(encoding="utf-8")
