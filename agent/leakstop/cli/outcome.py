# SPDX-License-Identifier: MIT
"""The end of a guard, for whoever called: files, a few lines on the terminal, an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import BinaryIO

from leakstop.cli.reportdir import JOURNAL, ReportDir
from leakstop.errors import ExitCode
from leakstop.model.report import Report
from leakstop.report import annotations as notes
from leakstop.report import directory as files
from leakstop.report import json_v1, record, summary, text
from leakstop.report.vocabulary import Vocabulary

_RENDERERS: dict[str, Callable[[Report, Vocabulary], str]] = {
    "text": lambda report, words: text.render(report, vocabulary=words),
    "json": lambda report, _: json_v1.render(report),
    "summary": lambda report, words: summary.render(report, vocabulary=words),
    "annotations": lambda report, words: notes.render(report, vocabulary=words),
    "record": lambda report, _: record.render(report),
}
FORMATS = tuple(_RENDERERS)
"""What ``leakstop report --format`` takes."""


def conclude(
    report: Report,
    detail: str,
    directory: ReportDir | None,
    journal: BinaryIO | None,
    code: int = 0,
    *,
    vocabulary: Vocabulary | None = None,
) -> int:
    """Write the report, print it, and return its exit code, or ``code`` when it is clean."""
    words = vocabulary or Vocabulary()
    problems: tuple[str, ...] = ()
    if directory is not None:
        problems = _keep(report, detail, directory, journal, words)
    where = str(directory.path) if directory else ""
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    said = text.render(report, colour=colour, where=where, vocabulary=words)
    print(said, end="", file=sys.stderr)
    for problem in problems:
        print(f"leakstop: {problem}", file=sys.stderr)
    if report.exit_code is not ExitCode.CLEAN:
        return int(report.exit_code)
    return code or int(ExitCode.INTERNAL if problems else ExitCode.CLEAN)


def render(report: Report, kind: str, vocabulary: Vocabulary | None = None) -> str:
    """Render ``report`` in one of ``FORMATS``."""
    return _RENDERERS[kind](report, vocabulary or Vocabulary())


def _keep(
    report: Report,
    detail: str,
    directory: ReportDir,
    journal: BinaryIO | None,
    vocabulary: Vocabulary,
) -> tuple[str, ...]:
    """Write the files; return what went wrong. A full disk must not hide the verdict."""
    problems = files.write(
        report, directory.write, detail=summary.Detail(detail), vocabulary=vocabulary
    )
    try:
        if journal is not None:
            directory.settle(JOURNAL, journal)
    except OSError as error:
        return (*problems, f"{JOURNAL} could not be written: {error.strerror}.")
    return problems


__all__ = ["FORMATS", "conclude", "render"]
