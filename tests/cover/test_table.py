# SPDX-License-Identifier: MIT
"""The table channel × encoding × client: each cell prevented, detected, or said not to be seen.

``results.json`` holds the outcome of every cell, and ``docs/coverage.md`` is made from it by
``tools/gen_coverage.py``. A cell that does better than the file fails as well: after a change run
``UPDATE_GOLDEN=1 pytest -n 0 tests/cover``, then the tool, and read the difference.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from cover.cells import GROUPS, with_secrets
from cover.clients import CHANNELS, CLIENTS, COMMANDS, LEFT_OUT
from cover.scene import OUTCOMES, build, guarded, left, outcome, script
from lab import Lab

RESULTS = Path(__file__).parent / "results.json"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The clients that are not simply there."""
    beside = Path(sys.executable).parent
    return {"uv": beside / "uv", **build(tmp_path_factory.mktemp("go"))}


@pytest.mark.root
@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", sorted(GROUPS))
def test_unguarded_every_secret_arrives(lab: Lab, programs: dict[str, Path], name: str) -> None:
    cells = with_secrets(GROUPS[name]())
    lab.run(script(lab, cells, programs), timeout_s=150)
    arrived = {str(cell): left(lab, cell) for cell in cells}
    whole = {str(cell): max(map(len, cell.pieces)) for cell in cells}
    assert arrived == whole


@pytest.mark.root
@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", sorted(GROUPS))
def test_guarded_every_cell_is_as_the_table_says(
    lab: Lab, programs: dict[str, Path], name: str
) -> None:
    cells = with_secrets(GROUPS[name]())
    run = guarded(lab, cells, programs)
    results = {cell.key: outcome(lab, run, cell) for cell in cells}
    wrong = {cell: result for cell, result in results.items() if result not in OUTCOMES}
    assert wrong == {}, run.stderr[-2000:]
    assert [cell for cell in cells if run.shows(cell.token)] == []
    written = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if os.environ.get("UPDATE_GOLDEN"):
        RESULTS.write_text(json.dumps({**written, name: results}, indent=1, sort_keys=True) + "\n")
        return
    assert results == written.get(name)


def test_no_pair_is_left_out_without_a_reason() -> None:
    pairs = {(client, channel) for client in CLIENTS for channel in CHANNELS}
    assert set(COMMANDS) | set(LEFT_OUT) == pairs
    assert not set(COMMANDS) & set(LEFT_OUT)
