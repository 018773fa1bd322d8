# SPDX-License-Identifier: MIT
"""The last phase of the action: ask the agent for its report, say it, pass or fail the job.

The job has run by now, and nothing that it could write is believed. An agent that is gone
before it was asked, in whatever way, is lost coverage, and lost coverage is a red job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from leakstop.cli import elevate, vocabulary
from leakstop.cli.confined import invoking_user
from leakstop.cli.kept import Kept
from leakstop.cli.reportdir import JOURNAL, ReportDir
from leakstop.cli.runner import Runner, say
from leakstop.daemon import client, fold
from leakstop.errors import CoverageError, ExitCode, LeakstopError, trace
from leakstop.model.report import Report
from leakstop.report import annotations as notes
from leakstop.report import directory, escape, record, summary, text
from leakstop.report.vocabulary import Vocabulary

PENDING = {"verdict": "pending", "findings": ""}
"""The outputs before the job is over."""

FAILED = 1

_MEANINGS = {
    ExitCode.FINDINGS: "there are findings at or above `fail-on`",
    ExitCode.DENIED: "hosts were denied in block mode",
    ExitCode.COVERAGE: "coverage was lost",
}


def post(runner: Runner, kept: Kept) -> int:
    """Report; the exit code is 1 when the verdict is fail.

    Raises:
        LeakstopError: there is nothing to report from.
    """
    if not kept.run:
        say(["Nothing was guarded: the step failed before a guard was in force."])
        return FAILED
    alive = kept.agent_is_alive
    try:
        report = _report(kept)
        if not kept.reports and report.verdict == "pass":
            say(["Only observed: the step failed before its policy was in force."])
            return FAILED
        return _conclude(runner, kept, report)
    finally:
        elevate.clean_up(kept.place, sweep=not alive)


def _report(kept: Kept) -> Report:
    """The agent's report, or what its journal says without it.

    Raises:
        CoverageError: there is no journal either.
    """
    run_dir = Path(kept.run)
    try:
        # Believed is only what the agent itself says: a file may be anybody's who became root.
        report = client.last_word(run_dir, key=kept.key, whom=kept.agent)
        return report if report is not None else _unproven(client.left(run_dir))
    except CoverageError:
        # It lives and does not answer, or somebody else does, or it died without a trace.
        return _unproven(fold.fold(fold.load_state(run_dir)))


def _unproven(report: Report) -> Report:
    """``report`` of a guard that ended before the job did, even if in order."""
    coverage = dataclasses.replace(report.coverage, agent_died=True, complete=False)
    code = report.exit_code
    if code in (ExitCode.CLEAN, ExitCode.DENIED):
        code = ExitCode.COVERAGE
    return dataclasses.replace(report, coverage=coverage, verdict="fail", exit_code=code)


def _conclude(runner: Runner, kept: Kept, report: Report) -> int:
    words = vocabulary.read(client.words(Path(kept.run)))
    written = _write(kept, report, words) if kept.reports else {}
    _print(lambda: text.render(report, where=kept.reports, vocabulary=words))
    _print(lambda: notes.render(report, vocabulary=words))
    _print(lambda: record.render(report))
    with contextlib.suppress(OSError):
        runner.add_summary(written.get(directory.SUMMARY, ""))
        runner.set_outputs(
            {
                "verdict": report.verdict,
                "findings": str(len(report.findings)),
                "report": str(Path(kept.reports, directory.REPORT)),
            }
        )
    if report.exit_code is ExitCode.CLEAN:
        return 0
    meaning = _MEANINGS.get(report.exit_code, "the guard failed")
    say([f"The job fails: {meaning} (exit code {int(report.exit_code)})."])
    return FAILED


def _write(kept: Kept, report: Report, words: Vocabulary) -> dict[str, str]:
    """Write the report's files and return their texts by name."""
    written: dict[str, str] = {}
    try:
        reports = ReportDir(Path(kept.reports), invoking_user())
    except LeakstopError as error:
        say(str(error).splitlines())
        reports = None

    def put(name: str, content: str) -> None:
        written[name] = content
        if reports is not None:
            reports.write(name, content)

    detail = summary.Detail(kept.detail)
    say(directory.write(report, put, detail=detail, vocabulary=words))
    if reports is not None:
        _copy_journal(Path(kept.run), reports)
    return written


def _copy_journal(run_dir: Path, reports: ReportDir) -> None:
    try:
        with (
            fold.load_state(run_dir).journal.open("rb") as source,
            reports.create(JOURNAL) as copy,
        ):
            shutil.copyfileobj(source, copy)
    except (OSError, LeakstopError) as error:
        say([f"The journal could not be copied: {error}"])


def _print(render: Callable[[], str]) -> None:
    """Print what ``render`` returns; a fault of a renderer must not hide the verdict."""
    try:
        print(render(), end="", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it is
        fault = f"A part of the report could not be rendered: {trace(error)}"
        print(
            escape.command("warning", [fault], {"title": "Leakstop: a fault of ours"}), flush=True
        )


__all__ = ["PENDING", "post"]
