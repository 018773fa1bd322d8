# SPDX-License-Identifier: MIT
"""``leakstop report``: say what a guard has seen so far, or saw. It goes on."""

from __future__ import annotations

import argparse

from leakstop.cli import outcome, vocabulary
from leakstop.cli.start import add_run_dir_option
from leakstop.daemon import client
from leakstop.daemon.lifecycle import machine_dir


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_run_dir_option(parser)
    parser.add_argument("--format", choices=outcome.FORMATS, default="text")


def run(args: argparse.Namespace) -> int:
    """Print the report in one format. Only prints: 0 whatever it says."""
    run_dir = (args.run_dir or machine_dir()).absolute()
    words = vocabulary.read(client.words(run_dir))
    print(outcome.render(client.report(run_dir), args.format, words), end="")
    return 0
