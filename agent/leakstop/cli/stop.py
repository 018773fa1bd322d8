# SPDX-License-Identifier: MIT
"""``leakstop stop``: end the guard of the machine and say what happened."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from leakstop.cli import options, outcome, vocabulary
from leakstop.cli.confined import invoking_user
from leakstop.cli.reportdir import JOURNAL, ReportDir
from leakstop.cli.start import add_run_dir_option
from leakstop.daemon import client, fold
from leakstop.daemon.lifecycle import RunDir, machine_dir

KEY_VARIABLE = "LEAKSTOP_FINISH_KEY"
"""Holds the key that was set when the guard was armed, for whoever is not root."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_run_dir_option(parser)
    options.add_report_options(parser)
    parser.add_argument(
        "--remove",
        action="store_true",
        help="delete the run directory, too: nothing is left to ask for a report",
    )


def run(args: argparse.Namespace) -> int:
    """End the guard; the exit code says what it found."""
    run_dir = RunDir((args.run_dir or machine_dir()).absolute())
    code = _end(run_dir, args)
    if args.remove:
        run_dir.remove()
    return code


def _end(run_dir: RunDir, args: argparse.Namespace) -> int:
    report_dir = ReportDir(Path(args.report_dir), invoking_user()) if args.report_dir else None
    report = client.finish(run_dir.path, key=os.environ.get(KEY_VARIABLE, ""))
    # What a dead agent left in the kernel goes, too. The files stay for `leakstop report`,
    # unless they are to be removed.
    run_dir.sweep()
    words = vocabulary.read(client.words(run_dir.path))
    if report_dir is None:
        return outcome.conclude(report, args.summary, None, None, vocabulary=words)
    with (
        fold.load_state(run_dir.path).journal.open("rb") as source,
        report_dir.create(JOURNAL) as journal,
    ):
        for line in source:
            journal.write(line)
        return outcome.conclude(report, args.summary, report_dir, journal, vocabulary=words)
