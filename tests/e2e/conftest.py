# SPDX-License-Identifier: MIT
"""The runner that all of these tests use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.acting import Bench, bench
from lab import Lab


@pytest.fixture
def acting(lab: Lab) -> Iterator[Bench]:
    """act, as the lab's job."""
    directory = Path(tempfile.mkdtemp(prefix="act-", dir=lab.directory))
    directory.chmod(0o755)
    with bench(directory, lab.popen) as made:
        yield made
