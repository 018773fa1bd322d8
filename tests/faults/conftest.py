# SPDX-License-Identifier: MIT
"""After every fault: the machine is as it was before."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from faults.scene import traces
from lab import Lab


@pytest.fixture(autouse=True)
def nothing_is_left(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No cgroup, mount, directory or process outlives the guards of a test."""
    clients: list[int] = []
    popen = lab.popen

    def noting(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        process = popen(*arguments, **options)
        clients.append(process.pid)
        return process

    monkeypatch.setattr(lab, "popen", noting)
    yield
    deadline = time.monotonic() + 5
    while (left := traces(lab, clients)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []
