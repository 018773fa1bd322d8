# SPDX-License-Identifier: MIT
"""``leakstop agent``: the agent's own process, for systemd. Not meant to be typed."""

from __future__ import annotations

import argparse
from pathlib import Path

from leakstop.daemon.lifecycle import RunDir
from leakstop.daemon.main import serve_detached


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--owner", type=int, required=True)
    parser.add_argument("--group", type=int, required=True)


def run(args: argparse.Namespace) -> int:
    """Serve until the guard ends."""
    return serve_detached(RunDir(args.run_dir), args.owner, args.group)
