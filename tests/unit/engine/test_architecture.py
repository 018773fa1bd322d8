# SPDX-License-Identifier: MIT
"""docs/architecture.md: prose about paths goes stale unless something looks."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text()


def test_every_path_exists() -> None:
    paths = re.findall(r"`((?:\w+/)[\w./-]*|\w+\.py)`", PAGE)
    assert len(paths) > 30
    bases = (REPOSITORY, REPOSITORY / "agent" / "leakstop")
    missing = [path for path in paths if not any((base / path).exists() for base in bases)]
    assert missing == []


def test_the_layers_are_those_that_are_checked() -> None:
    listed = (REPOSITORY / "pyproject.toml").read_text().partition("\nlayers = [\n")[2]
    layers = re.findall(r'"([^"]+)"', listed.partition("]")[0])
    assert layers[0] == "__main__", "the entry point is not worth a line"
    assert "```\n" + "\n".join(layers[1:]) + "\n```" in PAGE
