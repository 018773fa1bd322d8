# SPDX-License-Identifier: MIT
"""Files are whole or absent, and nothing hides the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leakstop.report import directory, summary
from unit.report import cases


def test_both_files_are_written(tmp_path: Path) -> None:
    target = tmp_path / "new" / "reports"
    put = directory.into(target)
    assert directory.write(cases.STOPPED, put, vocabulary=cases.VOCABULARY) == ()
    assert sorted(path.name for path in target.iterdir()) == ["report.json", "summary.md"]
    assert json.loads((target / "report.json").read_text())["verdict"] == "fail"
    shown = (target / "summary.md").read_text()
    assert shown == summary.render(cases.STOPPED, vocabulary=cases.VOCABULARY)
    assert (target / "report.json").stat().st_mode & 0o777 == 0o644


def test_no_summary_when_it_is_off(tmp_path: Path) -> None:
    directory.write(cases.STOPPED, directory.into(tmp_path), detail=summary.Detail.OFF)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    target = tmp_path / "out"
    target.mkdir()
    (target / "report.json").symlink_to(victim)
    directory.write(cases.CLEAN, directory.into(target))
    assert victim.read_text() == "untouched"
    assert not (target / "report.json").is_symlink()


def test_what_was_there_stays_whole_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = directory.into(tmp_path)
    put("report.json", "old")

    def full(descriptor: int, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fchmod", full)
    problems = directory.write(cases.CLEAN, put)
    assert problems == (
        "report.json could not be written: No space left on device.",
        "summary.md could not be written: No space left on device.",
    )
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("report.json", "old")
    ]


def test_a_renderer_that_fails_leaves_the_plain_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(summary, "render", broken)
    files: dict[str, str] = {}
    (problem,) = directory.write(cases.STOPPED, files.__setitem__)
    assert problem.startswith("summary.md could not be rendered (ZeroDivisionError)")
    assert files["summary.md"].startswith("### Leakstop: fail, exit code 10\n")
    assert "`secret-in-argv`" in files["summary.md"]
    assert json.loads(files["report.json"])["verdict"] == "fail"
