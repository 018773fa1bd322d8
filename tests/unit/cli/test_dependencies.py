# SPDX-License-Identifier: MIT
"""Packages of others: the system's where it has them, else exactly the files written down."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from leakstop.cli import dependencies
from leakstop.errors import LeakstopError

SEE = """\
import sys
sys.path.insert(0, {agent!r})
from pathlib import Path
from leakstop.cli import dependencies
dependencies.VENDOR = Path({vendor!r})
assert not dependencies.has("yaml")
dependencies.provide("yaml")
import hpack, psutil, yaml
print(yaml.__file__, psutil.__file__, hpack.__file__)
"""


def test_what_is_there_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "_fetch", lambda: pytest.fail("nothing is missing"))
    dependencies.provide("yaml")


@pytest.mark.index
def test_what_is_missing_is_fetched_and_found(tmp_path: Path) -> None:
    program = SEE.format(
        agent=str(dependencies.REQUIREMENTS.parent), vendor=str(tmp_path / "vendor")
    )
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    done = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-c", program], capture_output=True, text=True
    )
    assert done.stdout.count(str(tmp_path / "vendor")) == 3, done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp")] == []


@pytest.mark.index
def test_another_file_than_the_one_written_down_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = dependencies.REQUIREMENTS.read_text()
    forged = tmp_path / "requirements.txt"
    forged.write_text(re.sub("sha256:.{8}", "sha256:00000000", text))
    monkeypatch.setattr(dependencies, "REQUIREMENTS", forged)
    monkeypatch.setattr(dependencies, "VENDOR", tmp_path / "vendor")
    with pytest.raises(LeakstopError, match="could not be fetched") as caught:
        dependencies._fetch()
    assert "DO NOT MATCH THE HASHES" in caught.value.why
    assert not (tmp_path / "vendor").exists()


def test_every_requirement_is_pinned_and_names_no_index() -> None:
    lines = dependencies.REQUIREMENTS.read_text().splitlines()
    written = [line.rstrip(" \\") for line in lines if not line.startswith("#")]
    assert all(
        re.fullmatch(r"\w+==[\d.]+|    --hash=sha256:[0-9a-f]{64}", line) for line in written
    )
