# SPDX-License-Identifier: MIT
"""The files of ``--report-dir`` (but for the journal, which the agent writes as it goes).

The verdict must survive everything: a renderer that fails is replaced by the plain truth,
and a disk that is full by a sentence for the caller to print.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from leakstop.model.report import Report
from leakstop.report import escape, json_v1, summary
from leakstop.report.vocabulary import Vocabulary

REPORT = "report.json"
SUMMARY = "summary.md"

Put = Callable[[str, str], None]
"""Writes a text under a file name, or raises ``OSError``."""


def write(
    report: Report,
    put: Put,
    *,
    detail: summary.Detail = summary.Detail.AUTO,
    vocabulary: Vocabulary | None = None,
) -> tuple[str, ...]:
    """Render and write each file; return what went wrong, in whole sentences."""
    problems: list[str] = []
    markdown = partial(summary.render, report, detail=detail, vocabulary=vocabulary)
    for name, render, fallback in (
        (REPORT, partial(json_v1.render, report), _bare_json),
        (SUMMARY, markdown, _bare_markdown),
    ):
        try:
            text = render()
        except Exception as error:  # noqa: BLE001 - whatever it is, the verdict goes out
            problems.append(f"{name} could not be rendered ({type(error).__name__}): {_FAULT}")
            text = fallback(report)
        if not text:
            continue  # switched off
        try:
            put(name, text)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            problems.append(f"{name} could not be written: {reason}.")
    return tuple(problems)


_FAULT = "a fault of Leakstop, please report it. The verdict stands."


def into(directory: Path) -> Put:
    """Write into ``directory``, each file whole or not at all.

    A link that stands under a file's name is replaced, not followed.
    """

    def put(name: str, text: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
            Path(draft).replace(directory / name)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise

    return put


def _bare_json(report: Report) -> str:
    """What nobody must be left without, in the shape of the contract."""
    coverage = report.coverage
    document = {
        "format": json_v1.FORMAT,
        "version": report.version,
        "verdict": report.verdict,
        "exit_code": int(report.exit_code),
        "mode": report.mode.value,
        "leak": report.leak.value,
        "policy": {"digest": report.policy.digest},
        "coverage": {
            "sensor": coverage.sensor,
            "complete": coverage.complete,
            "lost_events": coverage.lost_events,
            "agent_died": coverage.agent_died,
            "notes": [f"The full report could not be rendered: {_FAULT}"],
            "gaps": [],
        },
        "findings": [],
        "flows": [],
        "secrets": [],
        "job": {},
    }
    return json.dumps(document, indent=2) + "\n"


def _bare_markdown(report: Report) -> str:
    ids = ", ".join(escape.code(finding.id) for finding in report.findings) or "none"
    return (
        f"### Leakstop: {report.verdict}, exit code {int(report.exit_code)}\n"
        f"This summary could not be rendered: {_FAULT} Findings: {ids}.\n"
    )
