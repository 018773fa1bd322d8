# SPDX-License-Identifier: MIT
"""How a guard ends for whoever called: files, lines, and one exit code."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from leakstop.cli import outcome
from leakstop.cli.confined import Identity
from leakstop.cli.reportdir import JOURNAL, ReportDir
from leakstop.errors import ExitCode
from leakstop.model.report import Report
from leakstop.report.vocabulary import Vocabulary
from story import PASSED, REFUSED, answers, connects, execs, guarded

ME = Identity(os.geteuid(), os.getegid())


def report(code: ExitCode = ExitCode.CLEAN) -> Report:
    made = guarded().sees(execs(20, "curl"), connects(20, "203.0.113.9", 443, REFUSED)).report
    verdict = "pass" if code is ExitCode.CLEAN else "fail"
    return dataclasses.replace(made, exit_code=code, verdict=verdict)


@pytest.mark.parametrize("own", [0, 1, 77, 143])
@pytest.mark.parametrize(
    "code", [ExitCode.CLEAN, ExitCode.FINDINGS, ExitCode.DENIED, ExitCode.COVERAGE]
)
def test_the_commands_code_counts_only_when_the_report_is_clean(code: ExitCode, own: int) -> None:
    expected = own if code is ExitCode.CLEAN else int(code)
    assert outcome.conclude(report(code), "auto", None, None, own) == expected


def test_all_files_are_written_and_where_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = ReportDir(tmp_path, ME)
    with directory.create(JOURNAL) as journal:
        outcome.conclude(report(), "full", directory, journal)
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", JOURNAL, "summary.md"}
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "pass"
    said = capsys.readouterr()
    assert said.out == ""
    assert str(tmp_path) in said.err
    assert "\x1b" not in said.err


@pytest.mark.parametrize(
    ("code", "own", "expected"),
    [
        (ExitCode.CLEAN, 0, ExitCode.INTERNAL),
        (ExitCode.CLEAN, 3, 3),
        (ExitCode.DENIED, 0, ExitCode.DENIED),
    ],
)
def test_a_report_that_cannot_be_written_is_not_green_and_hides_no_verdict(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: ExitCode,
    own: int,
    expected: int,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReportDir, "write", full)
    directory = ReportDir(tmp_path, ME)
    assert outcome.conclude(report(code), "auto", directory, None, own) == expected
    said = capsys.readouterr().err
    assert "report.json could not be written: No space left on device" in said
    assert "Leakstop" in said


@pytest.mark.parametrize("kind", outcome.FORMATS)
def test_every_format_can_be_printed(kind: str) -> None:
    assert isinstance(outcome.render(report(ExitCode.DENIED), kind), str)


def test_hosts_are_shown_in_the_words_that_are_handed_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = (answers("index.test", "203.0.113.9"), connects(20, "203.0.113.9", 443, PASSED))
    unnamed = guarded().sees(execs(20, "pip"), *seen).report
    words = Vocabulary(indexes={"registry:pip": ("https://index.test:443",)})
    outcome.conclude(unnamed, "full", ReportDir(tmp_path, ME), None, vocabulary=words)
    texts = [capsys.readouterr().err, (tmp_path / "summary.md").read_text()]
    texts += [outcome.render(unnamed, kind, words) for kind in ("text", "summary")]
    for text in texts:
        assert "python" in text and "index.test" not in text
    assert "index.test" in outcome.render(unnamed, "text")
    assert "index.test" in (tmp_path / "report.json").read_text(), "evidence names the host"


def test_the_formats_of_the_contract() -> None:
    assert {"text", "json", "summary", "annotations"} <= set(outcome.FORMATS)
