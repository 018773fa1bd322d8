# SPDX-License-Identifier: MIT
"""Guards in both modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from leakstop.model.verdict import Mode
from tamper.scene import Scene, scene


@pytest.fixture
def block(tmp_path: Path) -> Iterator[Scene]:
    """A guard in block mode."""
    with scene(tmp_path) as made:
        yield made


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[Scene]:
    """A guard in audit mode."""
    with scene(tmp_path, Mode.AUDIT) as made:
        yield made
